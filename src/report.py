"""Stage `report`: what the other stages wrote becomes one HTML page and the data of `dvc plots`."""

from __future__ import annotations

from pathlib import Path


def report(outputs: Path, models: list[str], out: Path, prepared: Path | None = None) -> None:
    """Write `out`/index.html and `out`/plots/*.csv; `prepared` is the prepared data's folder: its name, rows, classes."""
    from src import pages
    from src.files import write_text

    found = pages.read(outputs, models, prepared)
    write_text(out / "index.html", pages.render(found))
    for name, table in pages.plots_data(found).items():
        write_text(out / "plots" / f"{name}.csv", table)
