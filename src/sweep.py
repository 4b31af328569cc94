"""Search hyperparameters: one study, its trials trained on all workers, MLflow brought level with it.

python -m src.sweep [model=mlp search=tpe n_trials=64 ...]
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from src.config.command_line import stage
from src.engine import PRELOAD

if TYPE_CHECKING:
    from src.config.loading import Config


@partial(stage, preload=PRELOAD)
def main(config: Config) -> None:
    """Run or resume the sweep and write `outputs/sweep/<model>/`."""
    from src.sweeps import exports
    from src.sweeps.opening import opened, passed_over
    from src.sweeps.progress import Progress
    from src.system.checksums import write_checksums
    from src.tracking.tracker import Tracker

    began = time.monotonic()
    if passed_over(config):
        return
    with (
        opened(config) as sweep,
        Tracker(config["tracking"]["uri"], config["tracking"]["experiment"]) as tracker,
        sweep.engine,
    ):
        sweep.loop.mend(sweep.engine)
        tracker.level(sweep.records.all("RUNNING"))
        with Progress(sweep.label, config["n_trials"], sweep.study.history, sweep.engine.load) as progress:
            sweep.study.waiting = progress.waiting
            for trial in sweep.loop.run(sweep.engine):
                progress.show(sweep.loop.awaited, waiting=tracker.waiting())
                if trial:
                    tracker.project(sweep.records.trial(trial))
            trained = time.monotonic()
            with progress.waiting(f"the disk of {sweep.out}"):
                exports.write(sweep)
            tracker.level(sweep.records.all("FINISHED" if sweep.study.history.best else "FAILED"))
            with progress.waiting("MLflow"):
                runs = tracker.close()
        exports.write_timing(sweep, runs, began, trained, progress.done)
        write_checksums(sweep.out)
        exports.print_notes(sweep)


if __name__ == "__main__":
    main()
