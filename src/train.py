"""Train the final members from the best config of a sweep, as one population where they can be: for the combiners to
judge on the validation rows, and then again on these rows too, for use.

python -m src.train [model=mlp members=[seeds,bagging]]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.command_line import stage
from src.engine import PRELOAD

if TYPE_CHECKING:
    from src.config.loading import Config


@partial(stage, preload=PRELOAD, several=("members",), output="train/{model}")
def main(config: Config) -> None:
    """Train the final members of a model: write `outputs/train/<model>/`, a folder a member, and `members.json`."""
    from src.data.dataset import val_targets
    from src.engine.compatibility import prepared, unsuitable
    from src.engine.task import WorkerSetup
    from src.ensembles import final_members
    from src.ensembles.run_records import records
    from src.population.member import one_thread
    from src.system.errors import os_errors_as_user_errors
    from src.tracking.tracker import Tracker
    from src.tracking.uri import check

    model = config["model"]["name"]
    folder, meta = prepared(config)
    check(config["tracking"]["uri"])
    sweep, out = (Path(config["outputs"]) / verb / model for verb in ("sweep", "train"))
    if unsuitable(config, meta, out):
        return
    best = final_members.best_trial(sweep, model)
    one_thread()
    setup = WorkerSetup(folder, config["device"], tuple(config["trusted"]), timeout=config["trial"]["timeout"])
    with (
        os_errors_as_user_errors("the same command goes on from here"),
        Tracker(config["tracking"]["uri"], config["tracking"]["experiment"]) as tracker,
    ):
        members, out_of_fold, notes = [], {}, []
        for training, trained in final_members.train(config, best, setup, sweep):
            members += trained
            notes += training.notes
            if scores := final_members.out_of_fold_scores(training.context, trained):
                out_of_fold[training.method] = scores
            tracker.level(records(training, trained, scores))
        members, notes_on_refits = final_members.with_refits(config, best, setup, sweep, members)
        final_members.write(out, best, members, val_targets(folder), out_of_fold, [*notes, *notes_on_refits])
        tracker.close()
    for method, scores in out_of_fold.items():
        figures = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        print(f"{method}, on training rows not seen: {figures}")


if __name__ == "__main__":
    main()
