"""A sweep is opened: what it begins with, what its study is known by, and where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.command_line import ROOT
from src.config.renamed import with_first_names
from src.system.errors import UserError

if TYPE_CHECKING:
    from src.config.loading import Config
    from src.search.protocol import Search
    from src.study.identity import Identity
    from src.study.lineage import Schedule
    from src.study.study import Study
    from src.study.warm_start import Earlier
    from src.sweeps.objectives import Objectives


def with_what_is_known(config: Config, root: Path, meta: dict[str, Any], aims: Objectives) -> tuple[Config, Earlier]:
    """The config with what the range test says of its space, and what an earlier study says."""
    from dataclasses import replace

    from src.study.warm_start import Earlier, earlier
    from src.sweeps.loop import known_measures
    from src.sweeps.rate_prior import range_tested

    if config["search"]["rate_prior"] == "lr_range":
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


def identify(config: Config, meta: dict[str, Any], before: Earlier, schedule: Schedule) -> Identity:
    """What the trial table is a function of."""

    from src.study.identity import Identity
    from src.system.fingerprint import TRIAL, code_digests, digest, target_modules

    keys = with_first_names({key: config[key] for key in ("search", "seed", "slots", "device", "objective")})
    known = [before.first, [[t.params, t.values, t.state, t.measures] for t in before.trials]]
    text = json.dumps([keys, known] if before.first else keys, sort_keys=True)
    replayed = [json.dumps(schedule, sort_keys=True)] if schedule else []
    inputs = digest(meta["sha256"], config.space.describe(), text, *replayed)
    configs = [leaf.config for _, leaf in config.space.leaves()]
    code = code_digests(ROOT / "src", TRIAL, target_modules([configs, config["search"]]))
    return Identity(f"{config['data']['name']}-{config['model']['name']}", inputs, code)


def output_lock(root: Path, out: Path) -> Path:
    from src.system.fingerprint import digest

    return root / "locks" / f"out-{digest(str(out.absolute()))[:16]}"


def open_study(config: Config, identity: Identity, search: Search, aims: Objectives) -> Study:
    from src.study.study import Study
    from src.sweeps.loop import slots

    keys, count = config["study"], slots(config["slots"], config["n_trials"], search)
    choices = {"slots": count, "kernel": "eager", "device": config["device"], "metric": aims.metric}
    choices["folds"] = config["objective"]["folds"]
    root, url = Path(keys["root"]), config["storage"]
    return Study.open(root, url, identity, aims.direction, choices, keys["fresh"], keys["accept_code"], aims.goals)
