"""The points of a space without choices as rows of numbers: many drawn, changed and compared at once."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution

from src.config.space import Space
from src.search.points import unit_interval as cube
from src.search.points.candidates import AROUND, REACHES, Table
from src.search.protocol import Point

Rows = NDArray[np.float64]

TRIES = 64  # to find another value of a number with few
FINE = 2**20  # what differs by less, as a share of a dimension's scale, is the same point
SMOOTH = 16  # steps of a whole number from which on it is climbed as if it had none


class Box(Table):
    """A row is a point: a number's place in [0, 1] in a column, a category in as many as it has values."""

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.space = space
        sizes = [len(values) for values in self.categories.values()]
        ends = len(self.numbers) + np.cumsum(sizes, dtype=int)
        self.spans = [slice(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]
        self.width = len(self.numbers) + sum(sizes)
        numbers = [k for k, d in enumerate(self.numbers.values()) if not d.single()]
        self.free = [*numbers, *(len(self.numbers) + k for k, size in enumerate(sizes) if size > 1)]
        self.smooth = [k for k, d in enumerate(self.numbers.values()) if _smooth(d)]

    def anywhere(self, n: int, rng: np.random.Generator) -> Rows:
        """Random points [n, D]."""
        x_ND = np.zeros((n, self.width))
        for column in range(len(self.numbers)):
            x_ND[:, column] = rng.random(n)
        for span in self.spans:
            x_ND[:, span] = np.eye(span.stop - span.start)[rng.integers(span.stop - span.start, size=n)]
        return self.valid(x_ND)

    def around(self, x_MD: Rows, rng: np.random.Generator) -> Rows:
        """`AROUND` points for each row [M · AROUND, D], one dimension of each another: a number's near by, any category."""
        x_ND = np.repeat(x_MD, AROUND, axis=0)
        if not self.free:
            return x_ND
        changed_N = np.array(self.free)[rng.integers(len(self.free), size=len(x_ND))]
        reach_N = rng.choice(REACHES, size=len(x_ND))
        for column, d in enumerate(self.numbers.values()):
            places = np.flatnonzero(changed_N == column)
            x_ND[places, column] = _near(d, x_ND[places, column], reach_N[places], rng)
        for k, span in enumerate(self.spans):
            places, size = np.flatnonzero(changed_N == len(self.numbers) + k), span.stop - span.start
            if len(places):
                other = (x_ND[places, span].argmax(1) + rng.integers(1, size, size=len(places))) % size
                x_ND[places, span] = np.eye(size)[other]
        return x_ND

    def valid(self, x_ND: Rows) -> Rows:
        """The same with every number at the nearest of its values."""
        for column, d in enumerate(self.numbers.values()):
            x_ND[:, column] = cube.snapped(d, x_ND[:, column])
        return x_ND

    def point(self, x_D: Rows) -> dict[str, Any]:
        """A row as a point."""
        found = {name: cube.value(d, float(x_D[k])) for k, (name, d) in enumerate(self.numbers.items())}
        for (name, values), span in zip(self.categories.items(), self.spans, strict=True):
            found[name] = values[int(x_D[span].argmax())]
        return self.space.walk(lambda name, _: found[name])

    def keys(self, points: Sequence[Point]) -> set[bytes]:
        """The points as a set."""
        return set(_bytes(self.rows(points)))


def fresh(x_ND: Rows, told: set[bytes]) -> Rows:
    """Those that are not `told`."""
    return x_ND[[row not in told for row in _bytes(x_ND)]] if len(x_ND) else x_ND


def _bytes(x_ND: NDArray[Any]) -> Iterable[bytes]:
    return [row.tobytes() for row in np.rint(np.asarray(x_ND, np.float64) * FINE).astype(np.int32)]


def _near(d: Any, u_N: Rows, reach_N: Rows, rng: np.random.Generator) -> Rows:
    """Other values of a number, reflected at both ends of its scale."""
    if d.step:
        reach_N = np.maximum(reach_N, d.step / (d.high - d.low) if d.high > d.low else 1.0)
    found_N = u_N
    for _ in range(TRIES):
        same_N = found_N == u_N
        if not same_N.any():
            break
        moved_N = u_N + reach_N * rng.standard_normal(len(u_N))
        found_N = np.where(same_N, cube.snapped(d, 1 - abs(1 - abs(moved_N) % 2)), found_N)
    return found_N


def _smooth(d: Any) -> bool:
    if isinstance(d, IntDistribution):
        return (d.high - d.low) // d.step >= SMOOTH
    return isinstance(d, FloatDistribution) and not d.step
