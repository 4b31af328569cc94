"""Search hyperparameters: one study, its trials trained on all workers, MLflow brought level with it.

python -m src.sweep [model=mlp search=tpe n_trials=64 ...]
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import UserError, of_the_machine
from src.stage import ROOT, alone, prepared, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.config import Config
    from src.lineage import Schedule
    from src.objectives import Objectives
    from src.search import Search
    from src.study import Identity, Study
    from src.warm_start import Earlier

GO_ON = "the study is whole, so the same command goes on from here"


@partial(stage, workers=True)
def main(config: Config) -> None:
    """Run or resume the sweep and write `outputs/sweep/<model>/`."""
    from src import exports, lineage
    from src.data import load
    from src.files import write_json
    from src.loop import Loop, known_measures
    from src.objectives import objectives
    from src.population.engine import Engine
    from src.population.folds import folds
    from src.population.worker import Bench
    from src.progress import Progress
    from src.records import Records
    from src.search import Spec
    from src.search.terminator import Terminated, terminated
    from src.tracking import Tracker, check

    began = time.monotonic()
    folder, meta = prepared(config)
    check(config["tracking"]["uri"])
    aims = objectives(config["objectives"], config["constraints"], meta["task"])
    model, name = config["model"]["name"], config["search"]["name"]
    root, out = Path(config["study"]["root"]), Path(config["outputs"]) / "sweep" / model
    cut = folds(load(folder).y_train, config["objective"]["folds"], int(meta["sha256"][:8], 16), meta["class_names"])
    config, before = _with_what_is_known(config, root, meta, aims)

    def measure(params: Mapping[str, Any]) -> dict[str, float]:
        return known_measures(config.space.config(params), meta, aims)

    replayed = config.root.get("replay", {}).get("study")
    schedule = lineage.read(root, config["storage"], replayed) if replayed else ()
    budget = config["n_trials"], config.space.most_epochs(), config["seed"]
    spec = Spec(config.space, aims.direction, *budget, before.trials, before.first, aims.goals, measure, schedule)
    search = terminated(config.make("search", config["search"], spec), spec, config["search"]["terminator"])
    identity = _identity(config, meta, before, schedule)
    label = identity.label
    engine = Engine(Bench(folder, config["device"], tuple(config["trusted"])), config["workers"])
    with (
        of_the_machine(GO_ON),
        alone(root / "locks" / identity.stem, f"the sweep of {label}"),
        alone(_lock(root, out), f"a sweep into {out}"),
    ):
        study = _open(config, identity, search, aims)
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


def _with_what_is_known(config: Config, root: Path, meta: dict[str, Any], aims: Objectives) -> tuple[Config, Earlier]:
    """The config with what the range test says of its space, and what an earlier study says."""
    from dataclasses import replace

    from src.loop import known_measures
    from src.rate_prior import range_tested
    from src.warm_start import Earlier, earlier

    if config["search"]["prior"] == "lr_range":
        path = Path(config["outputs"]) / "lr_range" / config["model"]["name"] / "lr_range.json"
        config = replace(config, space=range_tested(config.space, path, meta["sha256"]))
    if config["warm_start"] is None:
        return config, Earlier((), ())
    name = config["warm_start"]
    found = earlier(root, config["storage"], name, config.space, aims.metric, aims.direction)
    for trial in found.trials:
        trial.measures |= known_measures(config.space.config(trial.params), meta, aims)
        if trial.state != "fail" and (lack := aims.lacks(trial.measures)):
            raise UserError(f"warm_start: a trial of {name} does not say enough for these objectives: {lack}")
    return config, found


def _identity(config: Config, meta: dict[str, Any], before: Earlier, schedule: Schedule) -> Identity:
    """What the trial table is a function of."""
    import json

    from src.study import Identity, code_digests, digest, target_modules

    names = ("search", "seed", "slots", "device", "objective", "objectives", "constraints")
    keys = {key: config[key] for key in names}
    known = [before.first, [[t.params, t.values, t.state, t.measures] for t in before.trials]]
    text = json.dumps([keys, known] if before.first else keys, sort_keys=True)
    replayed = [json.dumps(schedule, sort_keys=True)] if schedule else []
    inputs = digest(meta["sha256"], config.space.describe(), text, *replayed)
    configs = [leaf.config for _, leaf in config.space.leaves()]
    code = code_digests(ROOT / "src", more=target_modules([configs, config["search"]]))
    return Identity(f"{config['data']['name']}-{config['model']['name']}", inputs, code)


def _lock(root: Path, out: Path) -> Path:
    from src.study import digest

    return root / "locks" / f"out-{digest(str(out.absolute()))[:16]}"


def _open(config: Config, identity: Identity, search: Search, aims: Objectives) -> Study:
    from src.loop import slots
    from src.study import Study

    keys, count = config["study"], slots(config["slots"], config["n_trials"], search)
    choices = {"slots": count, "kernel": "eager", "device": config["device"], "metric": aims.metric}
    choices["folds"] = config["objective"]["folds"]
    root, url = Path(keys["root"]), config["storage"]
    return Study.open(root, url, identity, aims.direction, choices, keys["fresh"], keys["accept_code"], aims.goals)


if __name__ == "__main__":
    main()
