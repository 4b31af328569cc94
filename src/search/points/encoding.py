"""The points of a space without choices as rows of numbers: many are drawn, changed and compared at once."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Space
from src.search.points import unit_interval
from src.search.protocol import Point

Rows = NDArray[np.float64]

NEIGHBOURS = 10  # drawn around each point
REACHES = (0.2, 0.05)  # standard deviations of a changed number, as shares of its scale
TRIES = 64  # to draw another value of a number with few
FINE = 2**20  # what differs by less, as a share of a dimension's scale, is the same point
SMOOTH = 16  # steps of a whole number from which on it is climbed as if it had none
ABSENT = -1.0  # the place of a dimension that a point lacks


class Encoding:
    """The rows of a space: a number's place in [0, 1] in one column, a category in as many as it has values."""

    def __init__(self, space: Space) -> None:
        self.space = space
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
        sizes = [len(values) for values in self.categories.values()]
        ends = len(self.numbers) + np.cumsum(sizes, dtype=int)
        self.spans = [slice(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]
        self.width = len(self.numbers) + sum(sizes)
        numbers = [k for k, d in enumerate(self.numbers.values()) if not d.single()]
        self.free = [*numbers, *(len(self.numbers) + k for k, size in enumerate(sizes) if size > 1)]
        self.smooth = [k for k, d in enumerate(self.numbers.values()) if _is_smooth(d)]

    def rows(self, points: Sequence[Point]) -> Rows:
        """The points as rows, shape [N, D]."""
        columns = [
            [unit_interval.place(d, p[n]) if n in p else ABSENT for p in points] for n, d in self.numbers.items()
        ]
        for name, values in self.categories.items():
            columns += [[float(name in p and p[name] == value) for p in points] for value in values]
        return np.array(columns or [[0.0] * len(points)], dtype=np.float64).T

    def groups(self) -> list[list[int]]:
        """The columns of each dimension."""
        sizes = [1] * len(self.numbers) + [len(values) for values in self.categories.values()]
        ends = np.cumsum(sizes or [1]).tolist()
        return [list(range(end - size, end)) for end, size in zip(ends, sizes or [1], strict=True)]

    def random_rows(self, n: int, rng: np.random.Generator) -> Rows:
        """Points drawn evenly from the whole space, shape [n, D]."""
        x_ND = np.zeros((n, self.width))
        for column in range(len(self.numbers)):
            x_ND[:, column] = rng.random(n)
        for span in self.spans:
            x_ND[:, span] = np.eye(span.stop - span.start)[rng.integers(span.stop - span.start, size=n)]
        return self.snap(x_ND)

    def neighbours(self, x_MD: Rows, rng: np.random.Generator) -> Rows:
        """`NEIGHBOURS` points around each row, shape [M · NEIGHBOURS, D], each with another value in one dimension.

        A number moves to a value near by, a category to any other.
        """
        x_ND = np.repeat(x_MD, NEIGHBOURS, axis=0)
        if not self.free:
            return x_ND
        changed_N = np.array(self.free)[rng.integers(len(self.free), size=len(x_ND))]
        reach_N = rng.choice(REACHES, size=len(x_ND))
        for column, d in enumerate(self.numbers.values()):
            places = np.flatnonzero(changed_N == column)
            x_ND[places, column] = _moved(d, x_ND[places, column], reach_N[places], rng)
        for k, span in enumerate(self.spans):
            places, size = np.flatnonzero(changed_N == len(self.numbers) + k), span.stop - span.start
            if len(places):
                other = (x_ND[places, span].argmax(1) + rng.integers(1, size, size=len(places))) % size
                x_ND[places, span] = np.eye(size)[other]
        return x_ND

    def snap(self, x_ND: Rows) -> Rows:
        """Move every number of the rows to the nearest of its values, in place."""
        for column, d in enumerate(self.numbers.values()):
            x_ND[:, column] = unit_interval.snapped(d, x_ND[:, column])
        return x_ND

    def point(self, x_D: Rows) -> dict[str, Any]:
        """Decode a row into a point."""
        params = {name: unit_interval.value(d, float(x_D[k])) for k, (name, d) in enumerate(self.numbers.items())}
        for (name, values), span in zip(self.categories.items(), self.spans, strict=True):
            params[name] = values[int(x_D[span].argmax())]
        return self.space.walk(lambda name, _: params[name])

    def keys(self, points: Sequence[Point]) -> set[bytes]:
        """The points as keys to look up, for `untried`."""
        return set(_row_keys(self.rows(points)))


def untried(x_ND: Rows, tried: set[bytes]) -> Rows:
    """The rows whose keys are not in `tried`."""
    return x_ND[[row not in tried for row in _row_keys(x_ND)]] if len(x_ND) else x_ND


def _row_keys(x_ND: NDArray[Any]) -> Iterable[bytes]:
    return [row.tobytes() for row in np.rint(np.asarray(x_ND, np.float64) * FINE).astype(np.int32)]


def _moved(d: Any, u_N: Rows, reach_N: Rows, rng: np.random.Generator) -> Rows:
    """Other values near `u_N`, by `reach_N` standard deviations, reflected at both ends of the scale of `d`."""
    if d.step:
        reach_N = np.maximum(reach_N, d.step / (d.high - d.low) if d.high > d.low else 1.0)
    other_N = u_N
    for _ in range(TRIES):
        same_N = other_N == u_N
        if not same_N.any():
            break
        moved_N = u_N + reach_N * rng.standard_normal(len(u_N))
        other_N = np.where(same_N, unit_interval.snapped(d, 1 - abs(1 - abs(moved_N) % 2)), other_N)
    return other_N


def _is_smooth(d: Any) -> bool:
    if isinstance(d, IntDistribution):
        return (d.high - d.low) // d.step >= SMOOTH
    return isinstance(d, FloatDistribution) and not d.step
