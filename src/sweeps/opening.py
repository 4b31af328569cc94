"""Opening a sweep: its space and what it begins with, its search, its study and its locks."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from src.cluster.opening import engine_of
from src.config.command_line import ROOT
from src.config.loading import Config
from src.config.renamed import with_first_names
from src.data.dataset import load
from src.engine.compatibility import prepared, refuse_impossible_space, unsuitable, with_fitting_batches
from src.engine.cost import measures
from src.engine.cross_validation import trial_folds
from src.engine.engine import Engine
from src.engine.proxy import Proxy
from src.engine.task import WorkerSetup
from src.search.proposing.proxy import proxy_options, require_candidates
from src.search.proposing.terminator import Terminated, terminated
from src.search.protocol import Search, Spec
from src.study import lineage
from src.study.identity import Identity
from src.study.left_behind import left_behind
from src.study.lineage import Schedule
from src.study.study import Study
from src.study.warm_start import WarmStart, warm_start
from src.study.writer import only_writer
from src.sweeps.derivation import Derivation
from src.sweeps.loop import Loop, known_measures, slots
from src.sweeps.objectives import Objectives, objectives
from src.sweeps.rate_prior import range_tested
from src.sweeps.run_records import Records
from src.system.data_meta import DataMeta
from src.system.errors import UserError, os_errors_as_user_errors
from src.system.files import require_writable
from src.system.fingerprint import TRIAL, code_digests, digest, target_modules
from src.system.locks import exclusive, output_lock
from src.system.passed_over import FILE
from src.tracking.uri import check

TENTH = 10  # at least one trial in so many comes to its end
GO_ON = "the study is whole, so the same command goes on from here"


@dataclass(frozen=True)
class Sweep:
    """An open sweep. `out` is the folder that it fills, `label` its name for people."""

    config: Config
    label: str
    out: Path
    search: Search
    study: Study
    loop: Loop
    engine: Engine
    records: Records
    proxy: Proxy | None

    @property
    def stopped(self) -> str:
        """The terminator's reason to start no more trials, or ""."""
        return self.search.reason(self.study.history) if isinstance(self.search, Terminated) else ""


EXPECTED = ("best.yaml", "predictions.npz", "ranking.json", f"weights/{FILE}")  # by the stage `train`, in DVC's eyes


def passed_over(config: Config) -> bool:
    """Pass the model over, where it cannot take the data and the pipeline shall go on without it."""
    _, meta = prepared(config)
    return unsuitable(config, meta, Path(config["outputs"]) / "sweep" / config["model"]["name"], EXPECTED)


@contextmanager
def opened(config: Config) -> Iterator[Sweep]:
    """Check everything that a sweep needs, then open its study under its locks.

    Raises:
        UserError: the config, the data, the space or the study does not allow it, or the sweep is running already.
    """
    folder, meta = prepared(config)
    config = with_fitting_batches(config, meta)
    refuse_impossible_space(config, meta)
    check(config["tracking"]["uri"])
    aims = objectives(config["objective"]["minimize"], config["objective"]["constraints"], meta.task)
    root, out = Path(config["study"]["root"]), Path(config["outputs"]) / "sweep" / config["model"]["name"]
    config = _with_tested_rates(config, meta)
    before = _warm_start(config, meta, aims)
    replayed = config.root.get("replay", {}).get("study")
    schedule = lineage.read(root, config["storage"], replayed) if replayed else ()
    options = proxy_options(config["search"]["proxy"])
    proxy = Proxy(options.name, folder, meta) if options else None
    search = _search(config, meta, aims, before, schedule, proxy)
    identity = _identity(config, meta, before, schedule)
    cut = trial_folds(load(folder).y_train, config["objective"]["folds"], meta)
    trusted, timeout = tuple(config["trusted"]), config["trial"]["timeout"]
    setup = WorkerSetup(folder, config["device"], trusted, metrics=aims.metrics, timeout=timeout)
    require_writable("study.root", root, least := _least_bytes(config, meta))
    engine = engine_of(config.root, setup)
    with (
        os_errors_as_user_errors(GO_ON),
        exclusive(root / "locks" / identity.stem, f"the sweep of {identity.label}"),
        exclusive(output_lock(root, out), f"a sweep into {out}"),
        only_writer(config["storage"], identity.stem, f"the sweep of {identity.label}") as writer,
    ):
        require_writable("outputs", out, least)
        study = _study(config, identity, search, aims)
        study.writer = writer
        loop = Loop(study, search, config.space, meta, config["seed"], aims, cut)
        records = Records.of(study, config, identity.label, folder, meta)
        yield Sweep(config, identity.label, out, search, study, loop, engine, records, proxy)


def _with_tested_rates(config: Config, meta: DataMeta) -> Config:
    """The config with the space around the rate that the range test suggests, where it is asked for."""
    if config["search"]["rate_prior"] != "lr_range":
        return config
    path = Path(config["outputs"]) / "lr_range" / config["model"]["name"] / "lr_range.json"
    return replace(config, space=range_tested(config.space, path, meta.sha256))


def _warm_start(config: Config, meta: DataMeta, aims: Objectives) -> WarmStart:
    """The points and results of the study that `warm_start` names.

    Raises:
        UserError: there is no such study, or its trials lack a measure of these objectives.
    """
    name = config["warm_start"]
    if name is None:
        return WarmStart((), ())
    root = Path(config["study"]["root"])
    before = warm_start(root, config["storage"], name, config.space, aims.metric, aims.direction)
    for trial in before.trials:
        trial.measures |= known_measures(config.space.trial(trial.params), meta, aims)
        if trial.state != "fail" and (lack := aims.lacks(trial.measures)):
            raise UserError(f"warm_start: a trial of {name} does not say enough for these objectives: {lack}")
    return before


def _search(
    config: Config,
    meta: DataMeta,
    aims: Objectives,
    before: WarmStart,
    schedule: Schedule,
    proxy: Proxy | None,
) -> Search:
    def measure(params: Mapping[str, Any]) -> dict[str, float]:
        return known_measures(config.space.trial(params), meta, aims)

    def score(params: Mapping[str, Any]) -> float:
        return proxy(config.space.trial(params)) if proxy else 0.0

    budget = config["n_trials"], config.space.most_epochs(), config["seed"]
    spec = Spec(config.space, aims.direction, *budget, before.trials, before.first, aims.goals, measure, schedule)
    options = proxy_options(config["search"]["proxy"])
    if options:
        spec = replace(spec, proxy=score, candidates=options.candidates)

    def strategy(spec: Spec) -> Search:
        search: Search = config.make("search", config["search"], spec)
        if options:
            require_candidates(search, config["search"]["name"])
        return terminated(search, spec, config["search"]["terminator"])

    darts = config["training"].get("darts")
    return Derivation(spec, darts["supernets"], strategy) if darts else strategy(spec)


def _identity(config: Config, meta: DataMeta, before: WarmStart, schedule: Schedule) -> Identity:
    """The identity of the study: the trial table is a function of it."""
    keys = {key: config[key] for key in ("search", "seed", "slots", "device")}
    if proxy_options(config["search"]["proxy"]) is None:  # as in studies that began before there were any
        keys["search"] = {key: value for key, value in config["search"].items() if key != "proxy"}
    keys["objective"] = {key: value for key, value in config["objective"].items() if key != "candidates"}
    keys = with_first_names(keys)  # the choice between trials changes none of them
    observed = [before.first, [[t.params, t.values, t.state, t.measures] for t in before.trials]]
    text = json.dumps([keys, observed] if before.first else keys, sort_keys=True)
    replayed = [json.dumps(schedule, sort_keys=True)] if schedule else []
    inputs = digest(meta.sha256, config.space.describe(), text, *replayed)
    configs = [leaf.config for _, leaf in config.space.leaves()]
    code = code_digests(ROOT / "src", TRIAL, target_modules([configs, config["search"]]))
    parts = {"data": meta.sha256, "space": json.dumps(config.space.describe(), sort_keys=True), **keys}
    parts = {name: digest(json.dumps(part, sort_keys=True))[:8] for name, part in parts.items()}
    return Identity(f"{config['data']['name']}-{config['model']['name']}", inputs, code, parts)


def _least_bytes(config: Config, meta: DataMeta) -> int:
    """The least that a tenth of the trials leave: weights and predictions of the validation rows, in single precision."""
    _, leaf = next(config.space.leaves())
    try:
        parameters = measures(leaf.trial, meta)["parameters"]
    except Exception:  # a model that cannot be made: its worker says why, and the trial fails
        parameters = 0
    trials = 1 + int(config["n_trials"]) // TENTH
    return trials * int(4 * (parameters + meta.n_val * meta.n_outputs))


def _study(config: Config, identity: Identity, search: Search, aims: Objectives) -> Study:
    keys, count = config["study"], slots(config["slots"], config["n_trials"], search)
    choices = {"slots": count, "kernel": "eager", "device": config["device"], "metric": aims.metric}
    choices["folds"] = config["objective"]["folds"]
    root, url = Path(keys["root"]), config["storage"]
    if note := left_behind(root, url, identity):
        print(f"{identity.label}: {note}", flush=True)
    study = Study.open(root, url, identity, aims.direction, choices, keys["fresh"], keys["accept_code"], aims.goals)
    for trial in study.history.trials:
        if not config.space.contains(trial.params):
            raise UserError(
                f"study.root: trial {trial.number} of {study.name} is no point of its space, so a record is damaged; "
                "restore it, or study.fresh=true starts anew"
            )
    study.mirror_in(config["store"]["url"])
    means = config["objective"]["folds"] > 1 or config["search"]["name"] == "replay"  # of several seeds already
    study.choose_between(1 if means else config["objective"]["candidates"])
    return study
