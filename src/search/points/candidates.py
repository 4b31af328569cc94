"""Points for a model to judge: from anywhere, around known ones, and as rows of numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from src.config.space import Space
from src.search.points import unit_interval as cube
from src.search.points.mutation import mutated
from src.search.protocol import Point

Key = frozenset[tuple[str, Any]]  # a point to look up

AROUND = 10  # candidates around each point
REACHES = (0.2, 0.05)  # standard deviations of a changed number, as shares of its scale
ABSENT = -1.0  # a dimension that a point does not have


class Table:
    """The points of a space as rows of numbers: a column a number, one a category."""

    def __init__(self, space: Space) -> None:
        self.numbers: dict[str, BaseDistribution] = {}
        self.categories: dict[str, list[Any]] = {}
        for chosen, leaf in space.leaves():
            for name, option in chosen.items():
                self.categories.setdefault(name, [])
                self.categories[name] += [option] * (option not in self.categories[name])
            for name, dimension in leaf.dimensions.items():
                if isinstance(dimension.distribution, CategoricalDistribution):
                    self.categories[name] = list(dimension.distribution.choices)
                else:
                    self.numbers[name] = dimension.distribution

    def rows(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """[N, D]"""
        columns = [[cube.place(d, p[n]) if n in p else ABSENT for p in points] for n, d in self.numbers.items()]
        for name, values in self.categories.items():
            columns += [[float(name in p and p[name] == value) for p in points] for value in values]
        return np.array(columns or [[0.0] * len(points)], dtype=np.float64).T

    def groups(self) -> list[list[int]]:
        """The columns of each dimension."""
        sizes = [1] * len(self.numbers) + [len(values) for values in self.categories.values()]
        ends = np.cumsum(sizes or [1]).tolist()
        return [list(range(end - size, end)) for end, size in zip(ends, sizes or [1], strict=True)]


def anywhere(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """A random point."""
    return space.walk(lambda _, distribution: cube.value(distribution, rng.random()))


def around(space: Space, points: Sequence[Point], told: set[Key], rng: np.random.Generator) -> list[Point]:
    """Points with one dimension changed, that are not `told`."""
    return fresh((mutated(space, p, rng, float(rng.choice(REACHES))) for p in points for _ in range(AROUND)), told)


def fresh(points: Iterable[Point], told: set[Key]) -> list[Point]:
    """Those that are not `told`."""
    return [point for point in points if frozenset(point.items()) not in told]


def keys(points: Iterable[Point]) -> set[Key]:
    """The points as a set."""
    return {frozenset(point.items()) for point in points}
