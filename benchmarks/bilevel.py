"""The cost of an outer step beside that of a training step, and what outer steps gain, on digits.

    python benchmarks/bilevel.py

Cost: a strength of L2 for each of 10,000 weights. Time is the median over steps that take turns, on one thread. Memory is
what PyTorch holds at its peak during a step, with the parameters, the optimizer's state and the outer variables with theirs;
the rows of the data are in neither.

Gain: from eight strengths of L2, five orders of magnitude apart, 300 training rows train as they are (constants), learn the
strength on a third of them, and train again on all with the strengths that were found. Rows that no one trained on judge.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))

import src.population  # noqa: F401 # isort: split
from src.bilevel.constants import with_constants
from src.bilevel.hypergradient_population import HypergradientPopulation
from src.config.components import make
from src.population.member import Member, one_thread
from src.population.population import Population
from src.population.rows import Rows
from src.system.data_meta import DataMeta
from src.system.trial_config import TrialConfig

RESULTS = Path(__file__).parent / "results"
WIDTH = 70  # 64 · 70 + 70 · 70 + 70 · 10 = 10,080 weights with a strength each
STEPS = 200
ESTIMATORS = {"one_step": 1, "unrolled": 1, "neumann": 5, "conjugate_gradient": 5}  # and their `steps`


def config(estimator: str, steps: int, variables: dict[str, str]) -> dict[str, Any]:
    """Return a trial's config with an outer step of this estimator after every step."""
    model = {"name": "mlp", "width": WIDTH, "depth": 2, "activation": "relu", "norm": "none", "dropout": 0.0}
    model |= {"embedding": "none"}
    names = ("l1", "l2", "label_smoothing", "class_weights", "noise", "rate")
    outer = {"estimator": estimator, "steps": steps, "interval": 1, "rate": 0.05, "values": {}}
    outer |= {"variables": dict.fromkeys(names) | variables}
    return {
        "model": model,
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"name": "constant"},
        "training": {"hypergradient": outer, "regularization": {"l2": 1e-4}},
        "batch_size": 64,
        "epochs": 10,
    }


def digits(rows: int = 1400) -> Rows:
    """Return so many training rows of scikit-learn's digits, flat; the last 397 are those of validation."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy((x - x.mean()) / x.std()).float(), torch.from_numpy(y).long()
    meta = {"name": "digits", "task": "classification", "n_train": rows, "n_val": 397, "n_test": 0, "input_shape": [64]}
    meta |= {"n_classes": 10, "class_names": list("0123456789"), "sha256": "", "target_mean": 0.0, "target_std": 1.0}
    return Rows(DataMeta.from_json(meta | {"columns": []}), x[:rows], y[:rows], x[1400:], y[1400:])


def measured(estimator: str, steps: int, variables: dict[str, str], members: int) -> dict[str, float]:
    """Return milliseconds and MiB of a training step and of an outer step of so many members."""
    together = [Member(TrialConfig.from_json(config(estimator, steps, variables)), seed) for seed in range(members)]
    population = HypergradientPopulation(
        together,
        digits(),
        lambda config: make("optimizer", config.optimizer),
        lambda config: make("schedule", config.schedule),
    )
    order_KN = population.next_order()
    columns = population.next_steps(2)[0]
    outer_KB = columns.pop("outer_rows")
    population.stack.train_mode()

    def inner() -> None:
        Population.step(population, order_KN[:, :64], columns)

    def outer() -> None:
        population._outer_step(outer_KB, columns["lr"], None)

    population.step(order_KN[:, :64], columns)
    for _ in range(20):
        inner()
        outer()
    times: dict[str, list[float]] = {"inner": [], "outer": []}
    for _ in range(STEPS):
        for name, step in (("inner", inner), ("outer", outer)):
            began = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - began))
    inner_ms, outer_ms = (statistics.median(times[name]) for name in ("inner", "outer"))
    standing = resident(population)
    inner_mib, outer_mib = standing["weights"] + peak(inner), sum(standing.values()) + peak(outer)
    return {
        "inner_ms": inner_ms,
        "outer_ms": outer_ms,
        "time": outer_ms / inner_ms,
        "inner_mib": inner_mib,
        "outer_mib": outer_mib,
        "memory": outer_mib / inner_mib,
    }


def resident(population: HypergradientPopulation) -> dict[str, float]:
    """Return MiB of what stands between steps: weights with gradients and the optimizer's state, and outer variables."""
    outer = [rows for name, rows in population.state.items() if name.startswith("outer/")]
    inner = [rows for name, rows in population.state.items() if not name.startswith("outer/")]
    penalties = [rows for rows in (population.penalties.l1_KP, population.penalties.l2_KP) if rows is not None]
    weights = [population.stack.p_KP, population.g_KP, *inner, *penalties]
    return {"weights": _mib(weights), "outer": _mib(outer)}


def _mib(tensors: list[torch.Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def peak(step: Callable[[], None]) -> float:
    """Return MiB that a step has allocated at its peak, beyond what stood before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    now = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most / 2**20


STARTS = [10.0**k for k in range(-7, 1)]
SEEDS = 3
EPOCHS = 40


def gains() -> list[dict[str, Any]]:
    """Return the validation loss and error by the first strength, its mean over seeds, for each way to train."""
    table = []
    for estimator in ("constant", *ESTIMATORS):
        points = [(start, seed) for start in STARTS for seed in range(SEEDS)]
        configs = [gain_config(estimator, start) for start, _ in points]
        learnt = trained([Member(TrialConfig.from_json(c), seed) for c, (_, seed) in zip(configs, points, strict=True)])
        again = [with_constants(TrialConfig.from_json(c), curves) for c, curves in zip(configs, learnt, strict=True)]
        last = trained([Member(c, seed) for c, (_, seed) in zip(again, points, strict=True)])
        for place, start in enumerate(STARTS):
            part = slice(place * SEEDS, (place + 1) * SEEDS)
            row: dict[str, Any] = {"estimator": estimator, "start": start}
            row["l2"] = statistics.mean(curves["outer/l2"][-1] for curves in learnt[part])
            row["while_learning"] = statistics.mean(curves["val/loss"][-1] for curves in learnt[part])
            row["val_loss"] = statistics.mean(curves["val/loss"][-1] for curves in last[part])
            row["val_error"] = statistics.mean(1 - curves["val/accuracy"][-1] for curves in last[part])
            table.append(row)
            print(json.dumps(row))
    return table


def gain_config(estimator: str, start: float) -> dict[str, Any]:
    """Return the config of a net whose strength begins at `start`, and stays there where `estimator` is constant."""
    made = config("one_step" if estimator == "constant" else estimator, ESTIMATORS.get(estimator, 1), {"l2": "one"})
    made["training"]["regularization"]["l2"] = start
    made["training"]["hypergradient"] |= {"interval": 2, "rate": 0.2}
    if estimator == "constant":
        made["training"]["hypergradient"]["values"] = {"l2": start}
    optimizer = {"name": "adamw", "lr": 3e-3, "weight_decay": 0.0}
    return made | {"epochs": EPOCHS, "batch_size": 32, "optimizer": optimizer}


def trained(members: list[Member]) -> list[dict[str, list[float]]]:
    """Return the members' curves after all epochs, in one population."""
    population = HypergradientPopulation(
        members,
        digits(300),
        lambda config: make("optimizer", config.optimizer),
        lambda config: make("schedule", config.schedule),
    )
    for _ in range(EPOCHS):
        population.epoch()
    return population.curves


def main() -> None:
    """Measure every estimator, for one member and for eight, and what it gains, and write both."""
    one_thread()
    table = gains()
    rows = []
    for members in (1, 8):
        for estimator, steps in ESTIMATORS.items():
            row = measured(estimator, steps, {"l2": "parameter"}, members)
            rows.append({"estimator": estimator, "steps": steps, "members": members} | row)
            print(json.dumps(rows[-1]))
    (RESULTS / "bilevel.json").write_text(json.dumps({"cost": rows, "gain": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
