"""The table of results, in the terminal.

python -m src.show
"""

import sys
from pathlib import Path

from rich.console import Console

from src.reporting.terminal import results_table
from src.system.errors import UserError
from src.system.read_back import intact, read_json

METRICS = Path("metrics.json")
AGAIN = "run dvc repro again"


def main() -> None:
    """Print the results in `metrics.json`, and where to look next."""
    if not METRICS.exists():
        sys.exit(f"error: {METRICS} is not there; run dvc repro first")
    console = Console(highlight=False)
    try:
        with intact(METRICS, AGAIN):
            table, left_out = results_table(read_json(METRICS, AGAIN), console.width)
    except UserError as error:
        sys.exit(f"error: {error}")
    console.print(table)
    if left_out:
        console.print(f"too narrow for {', '.join(left_out)}: see {METRICS}")
    console.print("report  report/index.html\nMLflow  make ui\nplots   dvc plots show")


if __name__ == "__main__":
    main()
