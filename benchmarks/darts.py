"""Cells that supernets end with, beside random cells, all trained alike: Fashion-MNIST, one thread.

    python -m src.prepare data=fashion_mnist
    python -m benchmarks.darts --seeds 5                                # hours of a core
    python -m benchmarks.darts --seeds 1 --rows 2000 --channels 4 --epochs 6 --random 20

Every supernet and every cell is a unit of work, whose result is written as it ends; the same command goes on from there, and
with more seeds it does what is missing. A cell is trained anew, on the training rows, with seed 0, and judged on rows that
no one has trained on. `guards` are the defaults of conf/training/darts.yaml; `none` is without any, and any edge may be a
skip connection.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import src.population  # noqa: F401 # isort: split
from src.bilevel.architecture import derived_cell
from src.data.dataset import load
from src.engine.fusing import population_of
from src.engine.task import WorkerSetup
from src.models.architectures.cell import OPERATIONS
from src.population.member import Member, one_thread
from src.population.rows import Rows
from src.system.cell_string import NAMES, cell_string, operations_of
from src.system.files import write_json
from src.system.trial_config import TrialConfig

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "darts.json"
DARTS = yaml.safe_load((ROOT / "conf" / "training" / "darts.yaml").read_text(encoding="utf-8"))["training"]["darts"]
FORMS: dict[str, dict[str, Any]] = {
    "guards": DARTS,
    "auxiliary": DARTS | {"auxiliary_skip": True},
    "none": DARTS | {"warmup": 0.0, "beta_decay": 0.0, "auxiliary_skip": False, "most_skips": None},
}
VALIDATION = 3000


def fashion(folder: Path, count: int) -> Rows:
    """Return the first rows of the prepared data, as tensors: `count` to train on, `VALIDATION` to judge by."""
    data = load(folder)
    train, val = (slice(0, count), slice(0, VALIDATION))
    x_train, y_train, x_val, y_val = (
        torch.from_numpy(np.array(array))
        for array in (data.x_train[train], data.y_train[train], data.x_val[val], data.y_val[val])
    )
    return Rows(data.meta, x_train, y_train, x_val, y_val)


def config(model: dict[str, Any], epochs: int, **training: Any) -> TrialConfig:
    """Return the config of a supernet or a cell: AdamW at 0.003 with a cosine, batches of 64."""
    return TrialConfig.from_json(
        {
            "model": {"cells": 1, "norm": "batch", **model},
            "optimizer": {"name": "adamw", "lr": 3e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.01},
            "schedule": {"name": "cosine", "warmup": 0.05, "final": 0.0},
            "training": training,
            "batch_size": 64,
            "epochs": epochs,
        }
    )


def trained(trial: TrialConfig, seed: int, data: Rows) -> tuple[dict[str, list[float]], float]:
    """Train a member to its end; return its curves and the seconds that took."""
    began = time.monotonic()
    population = population_of([Member(trial, seed)], data, WorkerSetup(Path(), "cpu"), None, fused=False)
    for _ in range(trial.epochs):
        population.epoch()
    return population.curves[0], time.monotonic() - began


def supernet(form: str, seed: int, data: Rows, channels: int, epochs: int) -> dict[str, Any]:
    """Train a supernet and derive its cell."""
    darts = FORMS[form]
    curves, seconds = trained(config({"name": "supernet", "channels": channels}, epochs, darts=darts), seed, data)
    cell = derived_cell(curves, darts["most_skips"])
    return {"cell": cell_string(cell), "seconds": seconds, "accuracy": curves["val/accuracy"][-1]}


def cell(text: str, data: Rows, channels: int, epochs: int) -> dict[str, Any]:
    """Train the net of a cell, given in NAS-Bench-201's form."""
    curves, seconds = trained(config({"name": "cell", "channels": channels, "operations": text}, epochs), 0, data)
    return {"accuracy": curves["val/accuracy"][-1], "seconds": seconds}


def random_cell(number: int) -> str:
    """Draw a cell, each operation as likely as any other."""
    names = np.random.default_rng([2026, number]).choice(OPERATIONS, len(NAMES)).tolist()
    return cell_string(dict(zip(NAMES, names, strict=True)))


def idle_share(text: str) -> float:
    """Return the share of edges that are a skip connection or carry nothing."""
    names = list(operations_of(text, OPERATIONS).values())
    return sum(name in ("none", "skip_connect") for name in names) / len(names)


def main() -> None:
    """Do what is missing of the units, and print a line a form."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"seeds": 5, "rows": 10_000, "channels": 8, "search": 20, "epochs": 10, "random": 20}.items():
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--forms", nargs="+", default=["guards", "none"], choices=FORMS)
    arguments.add_argument("--data", type=Path, default=Path("data/prepared/fashion_mnist"))
    arguments.add_argument("--results", type=Path, default=RESULTS)
    wanted = arguments.parse_args()
    one_thread()
    data, size = fashion(wanted.data, wanted.rows), (wanted.channels, wanted.epochs)
    key = f"{wanted.rows} rows, {wanted.channels} channels, {wanted.search} + {wanted.epochs} epochs"
    done: dict[str, Any] = json.loads(wanted.results.read_text()) if wanted.results.exists() else {}
    units = done.setdefault(key, {})

    def unit(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in units:
            units[name] = work()
            write_json(wanted.results, done)
            print(name, units[name], flush=True)
        return dict(units[name])

    def of_cell(text: str) -> float:
        return float(unit(text, lambda: cell(text, data, *size))["accuracy"])

    cells = {form: [] for form in wanted.forms}  # type: dict[str, list[str]]
    for seed in range(wanted.seeds):
        for form, found in cells.items():
            name = f"supernet {form} {json.dumps(FORMS[form], sort_keys=True)} {seed}"
            found.append(
                unit(name, lambda: supernet(form, seed, data, wanted.channels, wanted.search))["cell"]  # noqa: B023
            )
            of_cell(found[-1])
    random = sorted(of_cell(random_cell(number)) for number in range(wanted.random))
    middle, quarter, best = (float(np.quantile(random, share)) for share in (0.5, 0.75, 1))
    print(f"random cells: median {middle:.4f}, best quarter from {quarter:.4f}, best {best:.4f}")
    for form, found in cells.items():
        better = [sum(value < of_cell(text) for value in random) for text in found]
        idle = [idle_share(text) for text in found]
        print(
            form,
            [round(of_cell(text), 4) for text in found],
            f"better than {better} of {len(random)}; skip or none: {idle}",
        )


if __name__ == "__main__":
    main()
