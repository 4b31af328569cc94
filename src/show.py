"""The table of results, in the terminal.

python -m src.show
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

METRICS = Path("metrics.json")


def main() -> None:
    """Print what `metrics.json` says, and where to look next."""
    if not METRICS.exists():
        sys.exit(f"error: {METRICS} is not there; run dvc repro first")
    metrics = json.loads(METRICS.read_text())
    rows = metrics["ensembles"] | {f"best single: {metrics['best_single']['name']}": metrics["best_single"]}
    shown = [("test", name) for name in metrics["test"]] + [("val", "nll" if "nll" in metrics["val"] else "rmse")]
    table = Table("", *(f"{part}\n{name}" for part, name in shown))
    for column in table.columns[1:]:
        column.justify = "right"
    table.columns[0].no_wrap = True
    for label, row in rows.items():
        chosen = label == metrics["chosen"]
        figures = [f"{row[part][name]:.4f}" for part, name in shown]
        table.add_row(f"{label} ← chosen" if chosen else label, *figures, style="bold" if chosen else None)
    console = Console(highlight=False)
    console.print(table)
    console.print("report  report/index.html\nMLflow  make ui\nplots   dvc plots show")


if __name__ == "__main__":
    main()
