"""Stage `report`: what the other stages wrote becomes one HTML page and the data of `dvc plots`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.command_line import stage
from src.engine.compatibility import prepared
from src.system.errors import UserError
from src.system.files import require_writable
from src.system.read_back import intact_below

if TYPE_CHECKING:
    from src.config.loading import Config

READ = ("lr_range", "sweep", "train", "ensemble")  # the stages whose files the page shows


def report(outputs: Path, models: list[str], out: Path, prepared: Path | None = None) -> str | None:
    """Write `out`/index.html and `out`/plots/*.csv from `outputs`, for `models`.

    `prepared` is the folder of the prepared data, which has its name, rows, classes and profile. Returns the id of the
    ensemble's run in MLflow, if there is one.
    """
    from src.reporting import page as pages
    from src.reporting import results
    from src.system.files import write_text

    with intact_below([outputs / stage for stage in READ], "run dvc repro again"):
        everything = results.read(outputs, models, prepared)
        page, tables = pages.render(everything), pages.plots_data(everything)
    write_text(out / "index.html", page)
    for name, table in tables.items():
        write_text(out / "plots" / f"{name}.csv", table)
    return everything.ensemble.registered.get("run_id") if everything.ensemble else None


@partial(stage, output="report")
def main(config: Config) -> None:
    """Write the report page and the tables of DVC's plots into `report/`."""
    folder, _ = prepared(config)
    out = Path("report") if config["outputs"] == "outputs" else Path(config["outputs"]) / "report"
    require_writable("outputs", out)
    run = report(Path(config["outputs"]), config["models"], out, folder)
    if run:
        from src.tracking.report_artifact import log_report

        try:
            log_report(config["tracking"]["uri"], run, out / "index.html")
        except UserError as error:  # the page is written all the same
            print(error)
    print(f"open {out / 'index.html'}")


if __name__ == "__main__":
    main()
