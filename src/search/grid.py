"""Grid search: every combination once."""

from itertools import product
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from src.errors import UserError
from src.history import History, Proposal
from src.search import Search, Spec
from src.search.pruning import Pruner, Pruning


class Grid:
    """The points in order, the last dimension fastest, until all are tried or the trials are used up."""

    def __init__(self, spec: Spec, pruner: Pruner) -> None:
        self.pruning = Pruning(pruner, spec.space, spec.direction, spec.epochs)
        self.learns = len(self.pruning.rungs) > 1
        self.points = [
            {**chosen, **dict(zip(leaf.dimensions, values, strict=True))}
            for chosen, leaf in spec.space.leaves()
            for values in product(*(_values(name, d.distribution) for name, d in leaf.dimensions.items()))
        ][: spec.n_trials]

    def propose(self, history: History, n: int) -> list[Proposal]:
        pruned = self.pruning.pruned(history)
        going = [
            Proposal(t.params, t.epochs if t.number in pruned else self.pruning.next_rung(t.epochs), t.number)
            for t in history.of("paused")
        ]
        fresh = self.points[len(history.trials) : len(history.trials) + max(0, n - len(going))]
        return [*going, *(Proposal(params, self.pruning.next_rung(0)) for params in fresh)][:n]

    def done(self, history: History) -> bool:
        return len(history.trials) >= len(self.points) and not any(history.of("running", "paused"))


def grid(spec: Spec, *, pruner: Pruner) -> Search:
    """Visit each point of the grid once; a float needs a `step`."""
    return Grid(spec, pruner)


def _values(name: str, distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    step, log = getattr(distribution, "step", None), getattr(distribution, "log", False)
    low, high = getattr(distribution, "low", 0), getattr(distribution, "high", 0)
    if isinstance(distribution, IntDistribution) and not log:
        return list(range(low, high + 1, distribution.step))
    if step is None or log:
        raise UserError(f"space.{name}: a grid needs a step here, or {{type: categorical, choices: [...]}}")
    return [low + k * step for k in range(round((high - low) / step) + 1)]
