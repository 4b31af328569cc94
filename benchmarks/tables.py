"""Trainings that were done once: tables and surrogates that answer in no time, and the functions of bbob."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Dimension, Leaf, Space
from src.study.history import Direction

ROOT = Path(__file__).parents[1]
LCBENCH_EPOCHS = 52
LCBENCH_TASKS = 8  # every fourth of the surrogate's 34
LCBENCH_CONTINUOUS = (  # in the order of the surrogate's inputs
    "epoch",
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
)
FCNET = {"protein_structure": 0.22138, "parkinsons_telemonitoring": 0.006706}  # best mean over the table's seeds
BBOB = {1: "sphere", 8: "rosenbrock", 10: "ellipsoid", 15: "rastrigin", 21: "gallagher"}
BBOB_DIMENSIONS = (5, 20)

Curve = Callable[[Mapping[str, Any]], tuple[list[float], float]]


@dataclass(frozen=True)
class Task:
    """An objective: the values after each epoch of a point, and the seconds that one epoch takes."""

    name: str
    space: Space
    direction: Direction
    epochs: int
    curve: Curve
    best: float | None = None  # where it is known

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def sign(self) -> int:
        """What makes a value one to minimise."""
        return 1 if self.direction == "minimize" else -1


@dataclass
class Meter:
    """Counts the epochs of a search, and the best value: of all trials, each at its highest epoch so far.

    An epoch that a trial has had costs nothing when it goes on: a peer that trains promotions anew is spared it.
    """

    task: Task
    budget: int
    spent: int = 0
    steps: list[tuple[int, float]] = field(default_factory=list)  # (epochs spent, best value) where the best changes
    _had: dict[Hashable, int] = field(default_factory=dict)
    _values: dict[Hashable, float] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return self.spent >= self.budget

    @property
    def trials(self) -> int:
        return len(self._had)

    def train(self, trial: Hashable, params: Mapping[str, Any], epochs: int) -> list[float]:
        """Train a trial up to so many epochs in all; the values of all of them."""
        values = self.task.curve(params)[0][:epochs]
        self.spent += max(0, epochs - self._had.get(trial, 0))
        if epochs > self._had.get(trial, 0):
            self._had[trial], self._values[trial] = epochs, values[-1]
            best = min(self._values.values(), key=lambda v: self.task.sign * v)
            if not self.steps or best != self.steps[-1][1]:
                self.steps.append((self.spent, best))
        return values


def names(folder: Path | None) -> list[str]:
    """The tasks that can be had here."""
    tables = [
        *(f"lcbench/{task}" for task in _lcbench_ids(folder)),
        *(f"fcnet/{name}" for name in FCNET),
        "nasbench201/cifar10",
    ]
    functions = [f"bbob/{name}-{d}" for d in BBOB_DIMENSIONS for name in BBOB.values()]
    return [*(tables if folder else []), *functions]


def data_folder() -> Path | None:
    """Where the tables stand, if they do: $LOCKSTEP_DATA/hpo or ../shared/data/hpo."""
    for root in (os.environ.get("LOCKSTEP_DATA"), str(ROOT.parent / "shared" / "data")):
        if root and (Path(root) / "hpo" / "axes.json").exists():
            return Path(root) / "hpo"
    return None


@lru_cache
def load(name: str) -> Task:
    """The task of a name such as `lcbench/3945`, `fcnet/protein_structure`, `bbob/sphere-5`."""
    family, _, rest = name.partition("/")
    if family == "bbob":
        return _bbob(rest)
    folder = data_folder()
    assert folder, "names() lists no table without its folder"
    return _lcbench(folder, rest) if family == "lcbench" else _table(folder, family, rest)


def typical(task: Task, draws: int = 1000) -> tuple[float, float]:
    """The median and the best value of random points, fully trained: what regret is measured against."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(draws):
        params = task.space.walk(lambda _, distribution: draw(distribution, rng))
        values.append(task.sign * task.curve(params)[0][-1])
    return task.sign * float(np.median(values)), task.sign * min(values)


def draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """A random value, log-uniform where the distribution says so."""
    d = distribution
    if isinstance(d, CategoricalDistribution):
        return d.choices[int(rng.integers(len(d.choices)))]
    assert isinstance(d, IntDistribution | FloatDistribution)
    whole = isinstance(d, IntDistribution)
    low, high = (d.low - 0.5, d.high + 0.5) if whole else (d.low, d.high)
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if d.log else rng.uniform(low, high)
    return min(max(round(value), int(d.low)), int(d.high)) if whole else float(value)


# --- the tables --------------------------------------------------------------------------------------------------------


def _space(distributions: Mapping[str, BaseDistribution]) -> Space:
    dimensions = {
        name: Dimension(name, d, d.choices if isinstance(d, CategoricalDistribution) else ())
        for name, d in distributions.items()
    }
    return Space(Leaf(dict.fromkeys(distributions), dimensions))


def _lcbench_ids(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    space = json.loads((folder / "lcbench" / "config_space.json").read_text())["hyperparameters"]
    ids: list[str] = next(h["choices"] for h in space if h["name"] == "OpenML_task_id")
    return ids[::4][:LCBENCH_TASKS]


def _lcbench(folder: Path, task: str) -> Task:
    """The surrogate's validation accuracy; an epoch costs what the surrogate says that the whole training takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "lcbench" / "model.onnx", options)
    code = json.loads((folder / "lcbench" / "encoding.json").read_text())["OpenML_task_id"][task]
    x_cat = np.full((LCBENCH_EPOCHS, 1), code, np.int32)
    entries = json.loads((folder / "lcbench" / "config_space.json").read_text())["hyperparameters"]
    numeric = {h["name"]: h for h in entries if h["name"] in LCBENCH_CONTINUOUS[1:]}
    kinds = {"uniform_int": IntDistribution, "uniform_float": FloatDistribution}
    space = {n: kinds[h["type"]](h["lower"], h["upper"], log=h["log"]) for n, h in sorted(numeric.items())}

    @lru_cache(maxsize=4096)
    def look_up(point: tuple[float, ...]) -> tuple[list[float], float]:
        x_cont = np.empty((LCBENCH_EPOCHS, len(LCBENCH_CONTINUOUS)), np.float32)
        x_cont[:, 0], x_cont[:, 1:] = np.arange(1, LCBENCH_EPOCHS + 1), point
        answer = session.run(None, {"x_cat": x_cat, "x_cont": x_cont})[0]
        return [float(v) for v in answer[:, 1]], max(float(answer[-1, 0]), 1.0) / LCBENCH_EPOCHS

    def curve(params: Mapping[str, Any]) -> tuple[list[float], float]:
        return look_up(tuple(params[name] for name in LCBENCH_CONTINUOUS[1:]))

    return Task(f"lcbench/{task}", _space(space), "maximize", LCBENCH_EPOCHS, curve)


def _table(folder: Path, family: str, name: str) -> Task:
    """The mean over the table's seeds of the final value; numbers are dimensions of whole steps along the table's axis."""
    axes = json.loads((folder / "axes.json").read_text())[family]["axes"]
    table = np.nanmean(np.load(folder / f"{family}.npz")[name], axis=-1)
    space: dict[str, BaseDistribution] = {}
    for axis, values in axes:
        numeric = not isinstance(values[0], str)
        space[axis] = IntDistribution(0, len(values) - 1) if numeric else CategoricalDistribution(values)
    maximize = family == "nasbench201"

    def curve(params: Mapping[str, Any]) -> tuple[list[float], float]:
        index = tuple(values.index(params[a]) if isinstance(values[0], str) else params[a] for a, values in axes)
        return [float(table[index])], 1.0

    best = float(table.max() if maximize else table.min())
    return Task(f"{family}/{name}", _space(space), "maximize" if maximize else "minimize", 1, curve, best)


def _bbob(rest: str) -> Task:
    import cocoex

    function, _, dimension = rest.rpartition("-")
    number = next(n for n, title in BBOB.items() if title == function)
    problem = cocoex.Suite("bbob", "", "").get_problem_by_function_dimension_instance(number, int(dimension), 1)
    keys = [f"x{i}" for i in range(int(dimension))]
    space = _space({key: FloatDistribution(-5.0, 5.0) for key in keys})

    def curve(params: Mapping[str, Any]) -> tuple[list[float], float]:
        return [float(problem([params[key] for key in keys]))], 1.0

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        problem._best_parameter("print")  # COCO tells its optimum by a file in the working directory only
        best = float(problem(np.loadtxt("._bbob_problem_best_parameter.txt")))
    return Task(f"bbob/{rest}", space, "minimize", 1, curve, best)
