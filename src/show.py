"""The table of results, in the terminal.

python -m src.show
"""

import hashlib
import sys
from pathlib import Path

from rich.console import Console

from src.reporting.terminal import results_table
from src.system.checksums import FILE
from src.system.errors import UserError
from src.system.read_back import intact, read_json

METRICS = Path("metrics.json")
RECORDS = (Path("outputs", "ensemble", FILE), Path("dvc.lock"))  # of its bytes, the latter where only Git has it
AGAIN = "run dvc repro again"


def main() -> None:
    """Print the results in `metrics.json`, and where to look next."""
    if not METRICS.exists():
        sys.exit(f"error: {METRICS} is not there; run dvc repro first")
    console = Console(highlight=False, markup=False)
    try:
        with intact(METRICS, AGAIN):
            _require_recorded(METRICS.read_bytes())
            table, left_out = results_table(read_json(METRICS, AGAIN), console.width)
    except UserError as error:
        sys.exit(f"error: {error}")
    console.print(table)
    if left_out:
        console.print(f"too narrow for {', '.join(left_out)}: see {METRICS}")
    console.print("report  report/index.html\nMLflow  make ui\nplots   dvc plots show")


def _require_recorded(content: bytes) -> None:
    """Refuse metrics whose digest the stage and DVC both have otherwise, and let pass those that neither knows.

    Raises:
        UserError: they have changed.
    """
    records = [path.read_text(encoding="utf-8", errors="replace") for path in RECORDS if path.exists()]
    digests = (hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False).hexdigest())
    records = [record for record in records if METRICS.name in record]
    if records and not any(digest in record for record in records for digest in digests):
        raise UserError(f"{METRICS} has changed since it was written; {AGAIN}")


if __name__ == "__main__":
    main()
