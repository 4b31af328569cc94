"""Steps from a point to the next."""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Space
from src.search.points import unit_interval
from src.search.protocol import Point

REACH = 0.2  # standard deviation of a mutated number, as a share of its scale
NEAR = (1 / 4, 1 / 16, 1 / 64)  # how far a number's neighbours lie on either side, as shares of its scale


def random_point(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a point evenly from the whole space, each branch of a choice alike."""
    return space.walk(lambda _, distribution: unit_interval.value(distribution, rng.random()))


def mutated(space: Space, parent: Point, rng: np.random.Generator) -> dict[str, Any]:
    """Copy a point with another value in one dimension; what the parent lacks below a changed choice is random.

    Args:
        space: the space of both points.
        parent: the point to change.
        rng: what the dimension and its value are drawn with.
    """
    free = [name for name, d in space.distributions(parent).items() if not d.single()]
    changed = free[int(rng.integers(len(free)))] if free else None

    def gene(name: str, distribution: BaseDistribution) -> Any:
        if name == changed:
            return _other_value(distribution, parent[name], rng)
        return parent[name] if name in parent else unit_interval.value(distribution, rng.random())

    return space.walk(gene)


def _other_value(distribution: BaseDistribution, value: Any, rng: np.random.Generator) -> Any:
    """Another value: any other category, or a number near by on its scale."""
    if isinstance(distribution, CategoricalDistribution):
        others = [c for c in distribution.choices if c != value or type(c) is not type(value)]
        return others[int(rng.integers(len(others)))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    reach = REACH
    if distribution.step:
        reach = max(reach, distribution.step / (distribution.high - distribution.low))
    other = value
    while other == value:
        u = unit_interval.place(distribution, value) + reach * rng.standard_normal()
        other = unit_interval.value(distribution, 1 - abs(1 - abs(u) % 2))  # reflected at both ends
    return other


def neighbours(space: Space, parent: Point, rng: np.random.Generator) -> list[dict[str, Any]]:
    """List the points that differ from `parent` in one dimension or choice; there are finitely many.

    A category takes each other value, a number those at `NEAR`, with steps at least the next one. What `parent` lacks
    below a changed choice is random.

    Args:
        space: the space of all points.
        parent: the point in their middle.
        rng: what the values below a changed choice are drawn with.
    """

    def changed(name: str, other: Any) -> dict[str, Any]:
        def gene(this: str, distribution: BaseDistribution) -> Any:
            if this == name:
                return other
            return parent[this] if this in parent else unit_interval.value(distribution, rng.random())

        return space.walk(gene)

    free = space.distributions(parent).items()
    return [changed(name, other) for name, d in free for other in _near_values(d, parent[name])]


def _near_values(distribution: BaseDistribution, value: Any) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return [c for c in distribution.choices if c != value or type(c) is not type(value)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    place, step = unit_interval.place(distribution, value), distribution.step
    places = [place + sign * reach for reach in NEAR for sign in (-1, 1)]
    values = [unit_interval.value(distribution, u) for u in places if 0 <= u <= 1]
    if step and not distribution.log:
        values += [
            value + sign * step for sign in (-1, 1) if distribution.low <= value + sign * step <= distribution.high
        ]
    return [other for other in dict.fromkeys(values) if other != value]


def neighbour(distribution: BaseDistribution, value: Any, factor: float, up: bool) -> Any:
    """A value next to `value`, within bounds.

    Args:
        distribution: the dimension.
        value: where it starts.
        factor: how many times as much, or as little, a number becomes; where there are steps it moves by one step.
        up: whether it becomes larger.
    """
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
