"""Quasi-random search: a scrambled Sobol sequence (Sobol 1967, Owen 1998; Bergstra & Bengio 2012 for tuning)."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from scipy.stats.qmc import Sobol

from src.config.space import Space
from src.search.fidelity.optuna_pruner import Pruner
from src.search.points import unit_interval
from src.search.proposing.point_list import PointList
from src.search.protocol import Point, Search, Spec

BLOCK = 256  # points drawn at first


def qmc(spec: Spec, *, pruner: Pruner) -> Search:
    """Fill the space evenly, choices and categories too: each coordinate of a Sobol point decides one parameter.

    The points of one branch are a sub-sequence in which its choices are fixed, hence evenly spread over the branch too.
    """
    return PointList(spec, lambda: chain(_first_points(spec), _points(spec)), pruner)


def _first_points(spec: Spec) -> Iterator[Point]:
    """The sweep's first points; a value that one lacks is drawn at random."""
    for number, first in enumerate(spec.first):
        rng = np.random.default_rng([spec.seed, number])
        yield spec.space.walk(partial(_value_or_random, first, rng))


def _value_or_random(first: Point, rng: np.random.Generator, name: str, distribution: BaseDistribution) -> Any:
    return first[name] if name in first else unit_interval.value(distribution, rng.random())


def _points(spec: Spec) -> Iterator[dict[str, Any]]:
    dimensions = max(len(chosen) + len(leaf.dimensions) for chosen, leaf in spec.space.leaves())
    sequence = Sobol(max(1, dimensions), scramble=True, rng=spec.seed)
    while True:  # twice as many each time, as the sequence is even at powers of 2
        more = max(sequence.num_generated, BLOCK).bit_length() - 1
        yield from (_point(spec.space, iter(coordinates)) for coordinates in sequence.random_base2(more).tolist())


def _point(space: Space, coordinates: Iterator[float]) -> dict[str, Any]:
    return space.walk(lambda _, distribution: unit_interval.value(distribution, next(coordinates)))
