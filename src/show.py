"""The table of results, in the terminal.

python -m src.show
"""

import json
import sys
from pathlib import Path

from rich.console import Console

from src.reporting.terminal import results_table

METRICS = Path("metrics.json")


def main() -> None:
    """Print the results in `metrics.json`, and where to look next."""
    if not METRICS.exists():
        sys.exit(f"error: {METRICS} is not there; run dvc repro first")
    console = Console(highlight=False)
    table, left_out = results_table(json.loads(METRICS.read_text(encoding="utf-8")), console.width)
    console.print(table)
    if left_out:
        console.print(f"too narrow for {', '.join(left_out)}: see {METRICS}")
    console.print("report  report/index.html\nMLflow  make ui\nplots   dvc plots show")


if __name__ == "__main__":
    main()
