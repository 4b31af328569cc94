"""Runs made on purpose, ten of each kind, and what their diagnosis says: a confusion matrix.

    LOCKSTEP_DATA=../shared/data python benchmarks/diagnosis.py [--seeds 1000 1001 --out results/diagnosis.md]

Each kind has a recipe: what is done to a sound setting so that this very thing goes wrong. Rates, widths and lengths are
drawn anew by each seed. Two seeds on five pairs of data and model make ten runs of a kind. The rules were written by
looking at seeds below 1000.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import initialize_config_dir

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from src.config.components import make  # noqa: E402
from src.config.compose import CONF  # noqa: E402
from src.config.loading import load as load_config  # noqa: E402
from src.data.dataset import load  # noqa: E402
from src.data.preparing import prepare  # noqa: E402
from src.diagnosis.rules import KINDS, diagnose, least  # noqa: E402
from src.population.checkpoint import Checkpoint  # noqa: E402
from src.population.member import Member, one_thread  # noqa: E402
from src.population.population import Population  # noqa: E402
from src.population.rows import Rows  # noqa: E402
from src.system.trial_config import TrialConfig  # noqa: E402

PLACES = [("digits", "mlp"), ("digits", "cnn"), ("fashion_mnist", "mlp"), ("fashion_mnist", "cnn"), ("adult", "mlp")]
ROWS = {"digits": 1077, "fashion_mnist": 1200, "adult": 3000}
VALIDATION = 600
Config = dict[str, Any]


@lru_cache
def rows(name: str) -> Rows:
    """The training and validation rows of a data set, some thousands of each."""
    with tempfile.TemporaryDirectory() as folder:
        prepare({**load_config([f"data={name}"])["data"], "rows": ROWS[name]}, Path(folder) / name)
        data = load(Path(folder) / name)
        arrays = [torch.from_numpy(np.array(a)) for a in (data.x_train, data.y_train, data.x_val, data.y_val)]
    x_train, y_train, x_val, y_val = arrays
    return Rows(data.meta, x_train, y_train, x_val[:VALIDATION], y_val[:VALIDATION])


@lru_cache
def sound(name: str, model: str) -> Config:
    """A setting in which nothing goes wrong."""
    words = [f"data={name}", f"model={model}", "optimizer=adamw", "schedule=cosine", "epochs=16", "optimizer.lr=2e-3"]
    words += ["model.dropout=0.3", "optimizer.weight_decay=0.05", "training.augment.rotation=0"]
    words += ["model.channels=6"] if model == "cnn" else ["model.width=64"]
    ((_, leaf),) = load_config(words).space.leaves()
    return {**json.loads(json.dumps(leaf.config)), "data": name}


def log_uniform(draw: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))


def changed(config: Config, **changes: Any) -> Config:
    """`optimizer__lr=1` sets `optimizer.lr`."""
    config = json.loads(json.dumps(config))
    for key, value in changes.items():
        *sections, last = key.split("__")
        place: Any = config
        for section in sections:
            place = place[section]
        place[last] = value
    return config


CONSTANT = {"schedule": {"name": "constant"}}
WILD = {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0}


def diverged(c: Config, draw: np.random.Generator) -> Config:
    """A rate far above the limit, without normalisation, of SGD or AdamW."""
    c = changed(c, model__norm="none", model__dropout=0.0, model__activation="leaky_relu", **CONSTANT)
    if draw.random() < 0.5:
        return changed(c, optimizer={**WILD, "lr": log_uniform(draw, 2, 10)})
    return changed(c, optimizer__lr=log_uniform(draw, 3, 30), optimizer__weight_decay=0.0)


def unstable(c: Config, draw: np.random.Generator) -> Config:
    """A rate so high that the loss jumps from epoch to epoch, in a net that survives it."""
    norm = {"mlp": "layer", "cnn": "group"}[c["model"]["name"]]
    c = changed(c, optimizer__lr=log_uniform(draw, 0.1, 0.3), model__dropout=0.0, **CONSTANT)
    return changed(c, model__norm=norm, model__activation="tanh")


def too_slow(c: Config, draw: np.random.Generator) -> Config:
    """A rate a hundred times too low."""
    return changed(c, optimizer__lr=log_uniform(draw, 4e-6, 2e-5), **CONSTANT)


def plateaued(c: Config, draw: np.random.Generator) -> Config:
    """The rate falls to almost nothing in the first third."""
    steps = {"name": "step", "period": float(draw.uniform(2, 4)), "gamma": 1e-3}
    fall = {"name": "exponential", "gamma": log_uniform(draw, 0.05, 0.3)}
    return changed(c, epochs=20, schedule=steps if draw.random() < 0.5 else fall)


def underfitting(c: Config, draw: np.random.Generator) -> Config:
    """Hardly any units, or weights that decay as fast as they grow."""
    c = changed(c, epochs=24, optimizer__lr=log_uniform(draw, 5e-3, 1e-2), model__dropout=0.0)
    if c["data"] == "adult":  # there a single unit is enough
        return changed(c, optimizer__weight_decay=log_uniform(draw, 20, 35))
    if c["model"]["name"] == "mlp":
        return changed(c, model__width=int(draw.integers(1, 3)), model__activation="tanh")
    return changed(c, optimizer__weight_decay=log_uniform(draw, 8, 16))


def overfitting(c: Config, draw: np.random.Generator) -> Config:
    """Few rows, a fifth of them with a wrong label, a large net, nothing that holds it."""
    large = {"model__width": 256} if c["model"]["name"] == "mlp" else {"model__channels": 12}
    c = changed(c, epochs=int(draw.integers(40, 60)), optimizer__lr=log_uniform(draw, 3e-3, 6e-3), **large, **CONSTANT)
    return changed(c, optimizer__weight_decay=0.0, model__dropout=0.0, batch_size=16)


def still_improving(c: Config, draw: np.random.Generator) -> Config:
    """A sound rate, and far too few epochs."""
    low = 1e-3 if c["data"] == "digits" else 2.5e-4
    return changed(c, epochs=int(draw.integers(4, 6)), optimizer__lr=log_uniform(draw, low, 2 * low), **CONSTANT)


def vanishing_gradients(c: Config, draw: np.random.Generator) -> Config:
    """Many layers of sigmoids."""
    return changed(
        c,
        optimizer={**WILD, "lr": log_uniform(draw, 0.02, 0.1)},
        model__activation="sigmoid",
        model__depth=int(draw.integers(7, 10)),
        model__norm="none",
        model__dropout=0.0,
    )


def dead_units(c: Config, draw: np.random.Generator) -> Config:
    """Rectifiers whose biases begin far below zero (see `pushed`), without normalisation that would bring them back."""
    return changed(c, model__norm="none", model__dropout=0.0, epochs=int(draw.integers(12, 20)))


def pushed(state: Checkpoint, by: float) -> Checkpoint:
    """A member before its training whose hidden units have biases of -`by`."""
    hidden = [name for name in state.weights if name.endswith("bias") and not name.startswith("output")]
    return replace(state, epoch=0, curves={}, weights=state.weights | {n: state.weights[n] - by for n in hidden})


def healthy(c: Config, draw: np.random.Generator) -> Config:
    """The sound setting: on Adult, where the first epochs gain most, at a lower rate."""
    low = {"adult": 4e-4, "digits": 2e-3}.get(c["data"], 1e-3)
    epochs = 8 if c["data"] == "adult" else 14
    return changed(c, epochs=int(draw.integers(epochs, 3 * epochs // 2)), optimizer__lr=log_uniform(draw, low, 3 * low))


RECIPES: list[Callable[[Config, np.random.Generator], Config]] = [
    diverged, unstable, too_slow, plateaued, underfitting, overfitting, still_improving, vanishing_gradients, dead_units,
    healthy,
]  # fmt: skip
FEW = {"digits": 100, "fashion_mnist": 300, "adult": 300}  # rows of an overfitting run


def curves(kind: int, place: int, seed: int) -> dict[str, list[float]]:
    """Those of a run of this kind."""
    name, model = PLACES[place]
    draw = np.random.default_rng([seed, kind, place])
    config, data = RECIPES[kind](sound(name, model), draw), rows(name)
    few = None
    if RECIPES[kind] is overfitting:
        few = draw.permutation(len(data.x_train))[: FEW[name]]
        wrong = torch.from_numpy(draw.random(len(data.y_train)) < 0.2)
        drawn = torch.from_numpy(draw.integers(data.meta.n_classes, size=len(data.y_train)))
        data = replace(data, y_train=torch.where(wrong, drawn, data.y_train))
    trial = TrialConfig.from_json({key: value for key, value in config.items() if key != "data"})
    member = Member(trial, int(draw.integers(2**31)), rows=few)
    parts = (lambda c: make("optimizer", c.optimizer), lambda c: make("schedule", c.schedule))
    one = Population([member], data, *parts)
    if RECIPES[kind] is dead_units:
        one = Population([member], data, *parts, [pushed(one.save(0), float(draw.uniform(3, 6)))])
    for _ in range(trial.epochs):
        point = one.epoch()[0]
        if not abs(point["train/loss"] + point["val/loss"]) < float("inf"):
            break
    return one.curves[0]


def matrix(runs: list[dict[str, Any]], said: list[str]) -> str:
    """A row a recipe, a column a diagnosis."""
    counts = Counter((run["kind"], kind) for run, kind in zip(runs, said, strict=True))
    rows = [f"| made to be | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 1) + "|"]
    for kind in KINDS:
        cells = [str(counts[kind, other] or "") for other in KINDS]
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    right = sum(n for (kind, other), n in counts.items() if kind == other)
    return "\n".join([*rows, "", f"{right} of {len(runs)} right."])


def main() -> None:
    """Train the runs, or read those of an earlier call, and write the matrices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1000, 1001])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/diagnosis.md")
    args = parser.parse_args()
    one_thread()
    runs: list[dict[str, Any]] = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for kind, recipe in enumerate(RECIPES):
            for place, seed in itertools.product(range(len(PLACES)), args.seeds):
                name = recipe.__name__.replace("_", " ")
                runs.append({"kind": name, "place": place, "seed": seed, "curves": curves(kind, place, seed)})
                print(name, *PLACES[place], seed, file=sys.stderr, flush=True)
    best = [least([run["curves"] for run in runs if run["place"] == place]) for place in range(len(PLACES))]
    beside = [diagnose(run["curves"], best[run["place"]]) for run in runs]
    alone = [diagnose(run["curves"]) for run in runs]
    parts = ["The lowest validation loss of the runs on the same data and model is known, as in a sweep:"]
    parts += [matrix(runs, [found.kind for found in beside])]
    parts += ["Every run by its own curves alone:", matrix(runs, [found.kind for found in alone])]
    wrong = [
        f"- {run['kind']} ({' '.join(PLACES[run['place']])}, seed {run['seed']}): {found}"
        for run, found in zip(runs, beside, strict=True)
        if found.kind != run["kind"]
    ]
    args.out.write_text(
        "\n\n".join([*parts, "What was taken for something else, of the first table:", "\n".join(wrong)]) + "\n"
    )
    print(args.out.read_text())


if __name__ == "__main__":
    main()
