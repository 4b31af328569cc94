"""Steps from a point to the next."""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Space
from src.search.points import unit_interval as cube
from src.search.protocol import Point

REACH = 0.2  # standard deviation of a mutated number, as a share of its scale


def mutated(space: Space, parent: Point, rng: np.random.Generator, reach: float = REACH) -> dict[str, Any]:
    """The parent with another value of one dimension; below a choice that changes, what the parent has not is random."""
    free = [name for name, d in space.distributions(parent).items() if not d.single()]
    changed = free[int(rng.integers(len(free)))] if free else None

    def gene(name: str, distribution: BaseDistribution) -> Any:
        if name == changed:
            return _other(distribution, parent[name], rng, reach)
        return parent[name] if name in parent else cube.value(distribution, rng.random())

    return space.walk(gene)


def _other(distribution: BaseDistribution, value: Any, rng: np.random.Generator, reach: float) -> Any:
    """Another value: any other category, or a number near by on its scale."""
    if isinstance(distribution, CategoricalDistribution):
        others = [c for c in distribution.choices if c != value or type(c) is not type(value)]
        return others[int(rng.integers(len(others)))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step:
        reach = max(reach, distribution.step / (distribution.high - distribution.low))
    found = value
    while found == value:
        u = cube.place(distribution, value) + reach * rng.standard_normal()
        found = cube.value(distribution, 1 - abs(1 - abs(u) % 2))  # reflected at both ends
    return found


def neighbour(distribution: BaseDistribution, value: Any, factor: float, up: bool) -> Any:
    """A value next to this one, within bounds: `factor` times as much or as little, or where there are steps, a step off."""
    step = 1 if up else -1
    if isinstance(distribution, CategoricalDistribution):
        place = int(distribution.to_internal_repr(value)) + step
        return distribution.choices[min(max(place, 0), len(distribution.choices) - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution) and distribution.log:
        further = round(value * factor**step)
        changed = further if further != value else value + step
    elif distribution.step:
        changed = low + (round((value - low) / distribution.step) + step) * distribution.step
    else:
        changed = value * factor**step
    return min(max(changed, low), high)
