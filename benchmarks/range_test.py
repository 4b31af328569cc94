"""How good the range test's suggestion is, and how many trials it saves.

    python benchmarks/range_test.py rates [--only digits/mlp ...] [--seeds 3]
    python benchmarks/range_test.py sweep [--data digits --searches random gp --seeds 20 --trials 32 --epochs 20]

`rates`: what the rules suggest, trained with the defaults of conf/, against each of 20 rates; accuracy on the validation
rows, mean over seeds. `sweep`: sweeps with `search.rate_prior=none` and `lr_range`, the same seeds; after how many trials
the second has what the first has in the end. Data: digits, and 5,000 training rows of Adult and Fashion-MNIST
(LOCKSTEP_DATA).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from hydra import initialize_config_dir

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from src.config.components import make  # noqa: E402
from src.config.compose import CONF  # noqa: E402
from src.config.loading import Config, load  # noqa: E402
from src.data.preparing import prepare  # noqa: E402
from src.diagnosis.rate_range import best, over, read  # noqa: E402
from src.engine.engine import Engine  # noqa: E402
from src.engine.fusing import fusing_obstacle, rows  # noqa: E402
from src.engine.rate_ramp import ramp, side_by_side  # noqa: E402
from src.engine.task import WorkerSetup  # noqa: E402
from src.population.member import Member, one_thread  # noqa: E402
from src.population.population import Population  # noqa: E402
from src.population.seeds import derived_seed  # noqa: E402
from src.search.protocol import Spec  # noqa: E402
from src.study.history import Started  # noqa: E402
from src.study.identity import Identity  # noqa: E402
from src.study.study import Study  # noqa: E402
from src.sweeps.loop import Loop, slots  # noqa: E402
from src.sweeps.objectives import objectives  # noqa: E402
from src.sweeps.rate_prior import range_tested  # noqa: E402
from src.system.data_meta import DataMeta  # noqa: E402
from src.system.files import write_json  # noqa: E402
from src.system.trial_config import TrialConfig  # noqa: E402

EPOCHS = {"digits": 20, "adult": 10, "fashion_mnist": 5}
CASES = [f"{data}/{model}" for data in EPOCHS for model in ("mlp", "cnn") if (data, model) != ("adult", "cnn")]
GRID = {"sgd": np.geomspace(1e-4, 10, 20), "adamw": np.geomspace(1e-5, 1, 20)}


def main() -> None:
    """Print one of the two tables, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    one, other = verbs.add_parser("rates"), verbs.add_parser("sweep")
    one.set_defaults(run=rates)
    one.add_argument("--only", nargs="+", default=CASES)
    one.add_argument("--seeds", type=int, default=3)
    other.set_defaults(run=sweeps)
    other.add_argument("--data", default="digits")
    other.add_argument("--searches", nargs="+", default=["random", "gp"])
    for name, default in {"seeds": 20, "trials": 32, "epochs": 20}.items():
        other.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    one_thread()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        args.run(args)


@contextmanager
def prepared(data: str) -> Iterator[tuple[WorkerSetup, DataMeta]]:
    """The data set, of the larger ones 5,000 training rows."""
    words = [f"data={data}", *["data.rows=5000"] * (data != "digits")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / data
        yield WorkerSetup(folder, "cpu"), prepare(load(words)["data"], folder)


# --- how good a rate it suggests -----------------------------------------------------------------------------------------


def rates(args: argparse.Namespace) -> None:
    """A row for each data set, model and optimizer."""
    rules = ("valley", "steepest", "parallel")
    print("| data, model | optimizer | best of 20 | at |" + "".join(f" {rule} | accuracy |" for rule in rules))
    print("|---|---|---|---|" + "---|---|" * len(rules))
    for case in args.only:
        data, model = case.split("/")
        with prepared(data) as (setup, _):
            for optimizer, grid in GRID.items():
                words = [f"data={data}", f"model={model}", f"optimizer={optimizer}", f"epochs={EPOCHS[data]}"]
                trial = load([*words, "training.augment.rotation=0"]).trial
                found = suggestions(trial, setup)
                accuracy = trained(trial, setup, [*grid, *found.values()], args.seeds)
                top = int(np.argmax(accuracy[: len(grid)]))
                cells = [f" {found[r]:.2g} | {a:.4f} |" for r, a in zip(rules, accuracy[len(grid) :], strict=True)]
                line = f"| {data}, {model} | {optimizer} | {accuracy[top]:.4f} | {grid[top]:.2g} |"
                print(line + "".join(cells), flush=True)


def suggestions(trial: TrialConfig, setup: WorkerSetup, seed: int = 0) -> dict[str, float]:
    """The rate of each rule, with the defaults of the stage."""
    keys = load([])["lr_range"]
    names = ("seeds", "low", "high", "steps")
    rise = ramp(trial, setup, seed, over=over, **{name: keys[name] for name in names})
    read_off = read(rise.rate_S, rise.loss_KS)
    beside = side_by_side(
        trial, setup, seed, read_off.rates(keys["low"], keys["parallel"]["members"]), keys["parallel"]["epochs"]
    )
    parallel = best(beside.rate_S, beside.loss_KS[0])
    return {"valley": read_off.valley_lr, "steepest": read_off.steepest_lr, "parallel": parallel}


def trained(trial: TrialConfig, setup: WorkerSetup, grid: Sequence[float], seeds: int) -> np.ndarray:
    """The accuracy at each rate after the last epoch, mean over seeds that are not those of the range test."""
    total = np.zeros(len(grid))
    for seed in range(1, seeds + 1):
        configs = [trial.with_optimizer(lr=float(rate)) for rate in grid]
        members = [Member(config, derived_seed(seed, "trial", 0)) for config in configs]
        population = Population(
            members,
            rows(setup),
            lambda config: make("optimizer", config.optimizer),
            lambda config: make("schedule", config.schedule),
            fused=not fusing_obstacle(members[0], setup),
        )
        for _ in range(trial.epochs):
            points = population.epoch()
        total += [point["val/accuracy"] for point in points]
    return total / seeds


# --- how many trials it saves --------------------------------------------------------------------------------------------


def sweeps(args: argparse.Namespace) -> None:
    """A row for each search: medians over seeds."""
    print(
        "| data | search | seeds × trials × epochs | value without | with | trials to it, of all | of those without |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    with prepared(args.data) as (setup, meta), Engine(setup) as engine:
        for search in args.searches:
            words = [f"data={args.data}", f"search={search}", f"n_trials={args.trials}", f"epochs={args.epochs}"]
            runs = []
            for seed in range(args.seeds):
                config = load([*words, f"seed={seed}"])
                plain, tested = curve(config, meta, engine), curve(around(config, setup, meta), meta, engine)
                runs.append((plain[-1], tested[-1], reached(tested, plain[-1]), reached(plain, plain[-1])))
                print(f"seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
            without, with_it, took, took_without = map(np.array, zip(*runs, strict=True))
            share, strict = np.median(took) / args.trials, np.median(took / took_without)
            size = f"{args.seeds} × {args.trials} × {args.epochs}"
            values = f"{np.median(without):.4f} | {np.median(with_it):.4f}"
            print(f"| {args.data} | {search} | {size} | {values} | {share:.0%} | {strict:.0%} |", flush=True)


def around(config: Config, setup: WorkerSetup, meta: DataMeta) -> Config:
    """The config after a range test with its seed."""
    found = {"sha256": meta.sha256, "optimizer": config["optimizer"]["name"]}
    suggested = suggestions(config.trial, setup, config["seed"])[config["lr_range"]["rule"]]
    path = setup.data / "lr_range.json"
    write_json(path, {**found, "suggested_lr": suggested})
    return replace(config, space=range_tested(config.space, path, meta.sha256))


def curve(config: Config, meta: DataMeta, engine: Engine) -> np.ndarray:
    """The best value so far after each trial of a sweep, by the number of trials begun (none yet: minus infinity)."""
    aims = objectives(None, {}, meta.task)
    spec = Spec(config.space, aims.direction, config["n_trials"], config["epochs"], config["seed"])
    search = config.make("search", config["search"], spec)
    with tempfile.TemporaryDirectory() as root:
        choices = {"slots": slots("auto", config["n_trials"], search), "metric": aims.metric}
        study = Study.open(
            Path(root), None, Identity("sweep", "inputs", {}), aims.direction, choices, False, False, aims.goals
        )
        for _ in Loop(study, search, config.space, meta, config["seed"], aims).run(engine):
            pass
    done = np.full(config["n_trials"], -np.inf)
    finished = 0
    for event in study.history.events:
        trial = study.history.trials[event.trial]
        if not isinstance(event, Started) and event.state in ("complete", "pruned", "fail"):
            finished += 1
            if trial.value is not None:
                done[finished - 1] = trial.value
    return np.maximum.accumulate(done)


def reached(curve: np.ndarray, value: float) -> float:
    """The trials until a curve is at the value; infinity if it never is."""
    at = np.flatnonzero(curve >= value)
    return float(at[0] + 1) if len(at) else np.inf


if __name__ == "__main__":
    main()
