"""A sweep in virtual time without training: what the tests of history, timetable and search share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Choice, Dimension, Leaf, Space
from src.search.protocol import Search, Spec
from src.study.history import Goals, History, Proposal, TrialState
from src.study.timetable import Timetable

EPOCHS = 18
SEVERAL = {
    "goals": Goals(("size",)),
    "measure": lambda params: size(params),
}  # what a spec of two objectives has besides
NEEDS_SEVERAL = {"nsga2"}  # strategies that refuse a single objective
BASE = {
    "model": {"width": 64, "depth": 2},
    "optimizer": {"lr": 0.1, "momentum": 0.9},
    "schedule": {"name": "constant"},
    "batch_size": 64,
    "epochs": EPOCHS,
}

Op = tuple[Any, ...]  # ("start", proposal) or ("report", trial, values, state)


def leaf(prefix: str = "", continuous: bool = True) -> Leaf:
    """A dimension of each kind."""
    lr: BaseDistribution = FloatDistribution(1e-4, 1e-1, log=True)
    found = {
        "optimizer.lr": lr if continuous else CategoricalDistribution([1e-3, 1e-2, 1e-1]),
        "optimizer.momentum": FloatDistribution(0.0, 0.3, step=0.1),  # 3 × 0.1 is above 0.3 in floating point
        "model.width": IntDistribution(32, 96, step=32),
        "batch_size": CategoricalDistribution([32, None, "64", 1.5, True]),
    }
    dims = {prefix + key: Dimension(key, d, getattr(d, "choices", ())) for key, d in found.items()}
    return Leaf(BASE, dims)


def flat(continuous: bool = True) -> Space:
    return Space(leaf("", continuous))


def conditional(continuous: bool = True) -> Space:
    """Two branches, one of them with a choice of its own."""
    deep = Choice("b/schedule", "schedule", {"x": leaf("b/x/", continuous), "y": Leaf(BASE, {})})
    return Space(Choice("optimizer", "optimizer", {"a": leaf("a/", continuous), "b": deep}))


def objective(params: Mapping[str, Any], epoch: int) -> float:
    """To be minimized: smooth in the numbers, and falling with the epochs at a speed of the point's own."""
    numbers = [v if isinstance(v, int | float) else len(str(v)) for v in params.values()]
    level = sum(((7.3 * v) % 1.0) for v in numbers) / (1 + len(numbers))
    return level + (1 + level) / (epoch + 1)


def size(params: Mapping[str, Any]) -> dict[str, float]:
    """A measure that is known before training: 32, 64 or 96, or 0 in a branch without it."""
    return {"size": float(sum(value for name, value in params.items() if name.endswith("model.width")))}


def fails(params: Mapping[str, Any]) -> bool:
    """About one point in five."""
    return sum(map(ord, str(sorted(map(str, params.values()))))) % 5 == 0


@dataclass
class Sweep:
    """History, timetable and search, and every change of the history in order."""

    search: Search
    slots: int = 5
    cost: Callable[[Mapping[str, Any]], float] = lambda params: 0.5 + objective(params, 3)
    fails: Callable[[Mapping[str, Any]], bool] = lambda params: False
    history: History = field(default_factory=lambda: History("minimize"))
    ops: list[Op] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spec: Spec = getattr(self.search, "spec", Spec(flat(), "minimize", 0, EPOCHS, 0))
        self.history.goals = self.spec.goals
        self.timetable = Timetable(self.history, self.slots)

    def apply(self, op: Op) -> None:
        """One change, as the study would acknowledge it."""
        if op[0] == "start":
            proposal: Proposal = op[1]
            self.history.start(proposal, EPOCHS, self.cost(proposal.params), self.spec.measure(proposal.params))
        else:
            self.history.report(op[1], op[2], op[3])
        self.ops.append(op)
        self.timetable.sync()

    def fill(self) -> None:
        while self.timetable.free and (proposals := self.search.propose(self.history, self.timetable.free)):
            assert len(proposals) <= self.timetable.free
            for proposal in proposals:
                over = proposal.trial is not None and proposal.epochs <= self.history.trials[proposal.trial].epochs
                self.apply(("report", proposal.trial, [], "pruned") if over else ("start", proposal))

    def report(self) -> None:
        """The segment that ends next."""
        segment = self.timetable.next
        assert segment
        trial = self.history.trials[segment.trial]
        values = [objective(trial.params, epoch) for epoch in range(segment.start + 1, segment.stop + 1)]
        state: TrialState = "paused" if segment.stop == trial.target else "running"
        if segment.stop == trial.max_epochs:
            state = "complete"
        if self.fails(trial.params):
            state, values = "fail", values[:1]
        self.apply(("report", trial.number, values, state))

    def run(self) -> "Sweep":
        self.fill()
        for _ in range(10_000):
            if not self.timetable.running:
                return self
            self.report()
            self.fill()
        raise AssertionError("the search does not end")

    def rebuilt(self, search: Search, count: int, slots: int | None = None) -> "Sweep":
        """Another process, which finds the first `count` changes in the study."""
        again = Sweep(search, slots or self.slots, self.cost, self.fails)
        for op in self.ops[:count]:
            if op[0] == "start":
                again.history.start(op[1], EPOCHS, self.cost(op[1].params), self.spec.measure(op[1].params))
            else:
                again.history.report(*op[1:])
        again.ops = self.ops[:count]
        again.timetable = Timetable(again.history, again.slots)
        return again
