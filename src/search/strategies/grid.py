"""Grid search: every combination once."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Dimension
from src.search.fidelity.optuna_pruner import Pruner
from src.search.proposing.point_list import PointList
from src.search.protocol import Search, Spec
from src.system.errors import UserError


def grid(spec: Spec, *, pruner: Pruner) -> Search:
    """Visit each point of the grid once, the last dimension fastest; a continuous dimension needs `points` or a `step`."""
    grids = [
        (chosen, {name: _values(name, d) for name, d in leaf.dimensions.items()})
        for chosen, leaf in spec.space.leaves()
    ]

    def points() -> Iterator[dict[str, Any]]:
        for chosen, values in grids:
            yield from ({**chosen, **dict(zip(values, point, strict=True))} for point in product(*values.values()))

    return PointList(spec, points, pruner)


def _values(name: str, dimension: Dimension) -> Sequence[Any]:
    """The values of a dimension on the grid.

    Raises:
        UserError: the dimension is continuous and does not say how many to try.
    """
    d = dimension.distribution
    if isinstance(d, CategoricalDistribution):
        return d.choices
    assert isinstance(d, IntDistribution | FloatDistribution)
    if dimension.points:
        even = np.geomspace if d.log else np.linspace
        values = [min(max(v, d.low), d.high) for v in even(d.low, d.high, dimension.points).tolist()]
        return sorted({round(v) for v in values}) if isinstance(d, IntDistribution) else values
    if isinstance(d, IntDistribution) and not d.log:
        return range(d.low, d.high + 1, d.step)
    if d.step and not d.log:
        return [min(d.low + k * d.step, d.high) for k in range(round((d.high - d.low) / d.step) + 1)]
    raise UserError(f"space.{name}: a grid needs to know how many points to try here; add points, such as points: 5")
