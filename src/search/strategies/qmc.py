"""Quasi-random search: a scrambled Sobol sequence (Sobol 1967, Owen 1998; Bergstra & Bengio 2012 for tuning)."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from scipy.stats.qmc import Sobol

from src.config.space import Space
from src.search.fidelity.pruning import Pruner
from src.search.points import unit_interval as cube
from src.search.proposing.from_list import Listed
from src.search.protocol import Search, Spec

BLOCK = 256  # points drawn at first


def qmc(spec: Spec, *, pruner: Pruner) -> Search:
    """Fill the space evenly, choices and categories too: the coordinates of a point answer its questions in order.

    The points of one branch are a sub-sequence in which its choices are fixed, hence evenly spread over the branch too.
    """
    return Listed(spec, lambda: chain(spec.first, _points(spec)), pruner)


def _points(spec: Spec) -> Iterator[dict[str, Any]]:
    questions = max(len(chosen) + len(leaf.dimensions) for chosen, leaf in spec.space.leaves())
    sequence = Sobol(max(1, questions), scramble=True, rng=spec.seed)
    while True:  # twice as many each time, as the sequence is even at powers of 2
        more = max(sequence.num_generated, BLOCK).bit_length() - 1
        yield from (_point(spec.space, iter(answers)) for answers in sequence.random_base2(more).tolist())


def _point(space: Space, answers: Iterator[float]) -> dict[str, Any]:
    return space.walk(lambda _, distribution: cube.value(distribution, next(answers)))
