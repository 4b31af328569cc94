"""Search hyperparameters: one study, its trials trained on all workers, MLflow brought level with it.

python -m src.sweep [model=mlp search=tpe n_trials=64 ...]
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.command_line import stage
from src.engine import PRELOAD
from src.engine.compatibility import prepared, refuse_impossible_space
from src.system.errors import UserError, os_errors_as_user_errors
from src.system.locks import alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.config.loading import Config
from src.sweeps.opening import identify, open_study, output_lock, with_what_is_known

GO_ON = "the study is whole, so the same command goes on from here"


@partial(stage, preload=PRELOAD)
def main(config: Config) -> None:
    """Run or resume the sweep and write `outputs/sweep/<model>/`."""
    from src.data.dataset import load
    from src.engine.cross_validation import folds
    from src.engine.engine import Engine
    from src.engine.task import WorkerSetup
    from src.search.proposing.terminator import Terminated, terminated
    from src.search.protocol import Spec
    from src.study import lineage
    from src.sweeps import exports
    from src.sweeps.loop import Loop, known_measures
    from src.sweeps.objectives import objectives
    from src.sweeps.progress import Progress
    from src.sweeps.run_records import Records
    from src.system.files import write_json
    from src.tracking.tracker import Tracker
    from src.tracking.uri import check

    began = time.monotonic()
    folder, meta = prepared(config)
    refuse_impossible_space(config, meta)
    check(config["tracking"]["uri"])
    aims = objectives(config["objective"]["minimize"], config["objective"]["constraints"], meta["task"])
    model, name = config["model"]["name"], config["search"]["name"]
    root, out = Path(config["study"]["root"]), Path(config["outputs"]) / "sweep" / model
    cut = folds(load(folder).y_train, config["objective"]["folds"], int(meta["sha256"][:8], 16), meta["class_names"])
    config, before = with_what_is_known(config, root, meta, aims)

    def measure(params: Mapping[str, Any]) -> dict[str, float]:
        return known_measures(config.space.config(params), meta, aims)

    replayed = config.root.get("replay", {}).get("study")
    schedule = lineage.read(root, config["storage"], replayed) if replayed else ()
    budget = config["n_trials"], config.space.most_epochs(), config["seed"]
    spec = Spec(config.space, aims.direction, *budget, before.trials, before.first, aims.goals, measure, schedule)
    search = terminated(config.make("search", config["search"], spec), spec, config["search"]["terminator"])
    identity = identify(config, meta, before, schedule)
    label = identity.label
    engine = Engine(WorkerSetup(folder, config["device"], tuple(config["trusted"])), config["workers"])
    with (
        os_errors_as_user_errors(GO_ON),
        alone(root / "locks" / identity.stem, f"the sweep of {label}"),
        alone(output_lock(root, out), f"a sweep into {out}"),
    ):
        study = open_study(config, identity, search, aims)
        loop = Loop(study, search, config.space, meta, config["seed"], aims, cut)
        params = {"search": name, "seed": config["seed"], "epochs": config["epochs"]}
        records = Records(study, config.space, label, model, params, folder, meta)
        with Tracker(config["tracking"]["uri"], config["data"]["name"]) as tracker, engine:
            loop.mend(engine)
            tracker.level(records.all("RUNNING"))
            with Progress(label, config["n_trials"], study.history) as progress:
                for trial in loop.run(engine):
                    progress.show()
                    if trial:
                        tracker.project(records.trial(trial))
            trained, best = time.monotonic(), study.history.best
            stopped = search.reason(study.history) if isinstance(search, Terminated) else ""
            exports.write(out, study, config.space, name, stopped)
            tracker.level(records.all("FINISHED" if best else "FAILED"))
            runs = tracker.close()
        now = time.monotonic()
        times = {"wall_s": now - began, "train_s": trained - began, "tracking_s": now - trained}
        speed = {"trials_per_minute": 60 * progress.done / (now - began), "workers_busy": engine.busy()}
        write_json(out / "timing.json", {**times, **speed, **exports.timing(study, runs)})
        for note in sorted(loop.notes):
            print(f"{label}: trained one by one, since {note}")
        if stopped:
            print(f"{label}: stopped, since {stopped}")
        if best is None:
            raise UserError(exports.failure(study, label))


if __name__ == "__main__":
    main()
