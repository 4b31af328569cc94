"""Grid search: every combination once."""

from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.errors import UserError
from src.history import History, Proposal
from src.search import Search, Spec
from src.search.fidelity import Fidelity, fidelity
from src.search.pruning import Pruner

TRIES = 1000  # points looked at for each trial, where constraints leave some out


class Grid:
    """The feasible points in order, the last dimension fastest, until all are tried or the trials are used up."""

    def __init__(self, spec: Spec, fidelity: Fidelity) -> None:
        """Raises:
        UserError: a dimension has no end of points, or no point is feasible.
        """
        self.spec, self.fidelity = spec, fidelity
        self.learns = len(fidelity.rungs) > 1
        grids = [
            (chosen, {name: _values(name, d.distribution) for name, d in leaf.dimensions.items()})
            for chosen, leaf in spec.space.leaves()
        ]

        def points(most: int) -> Iterator[dict[str, Any]]:
            found = (
                {**chosen, **dict(zip(grid, point, strict=True))}
                for chosen, grid in grids
                for point in product(*grid.values())
            )
            return islice(found, most)

        self.points = list(islice(filter(spec.feasible, points(TRIES * spec.n_trials)), spec.n_trials))
        if not self.points:
            raise spec.refusal(list(points(TRIES)))

    def propose(self, history: History, n: int) -> list[Proposal]:
        if ends := self.fidelity.ends(history):
            return ends[:n]
        begun = len(history.trials)
        new = enumerate(self.points[begun : begun + n], start=begun)
        fresh = [Proposal(params, self.fidelity.first(number)) for number, params in new]
        return [*self.fidelity.promotions(history), *fresh][:n]

    def done(self, history: History) -> bool:
        return len(history.trials) >= len(self.points) and not any(history.of("running", "paused"))


def grid(spec: Spec, *, pruner: Pruner) -> Search:
    """Visit each point of the grid once; a float needs a `step`."""
    return Grid(spec, fidelity(pruner, spec))


def _values(name: str, distribution: BaseDistribution) -> Sequence[Any]:
    """The values of a dimension.

    Raises:
        UserError: it has no end of them.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return range(distribution.low, distribution.high + 1, distribution.step)
    if isinstance(distribution, FloatDistribution) and distribution.step:
        low, high, step = distribution.low, distribution.high, distribution.step
        return [min(low + k * step, high) for k in range(round((high - low) / step) + 1)]
    if isinstance(distribution, FloatDistribution) and not distribution.log:
        raise UserError(f"space.{name}: a grid needs a step here, or {{type: categorical, choices: [...]}}")
    raise UserError(f"space.{name}: a grid takes no log scale; give {{type: categorical, choices: [...]}}")
