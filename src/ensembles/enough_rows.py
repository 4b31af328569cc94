"""The rows that a fit needs: a combiner that is fitted on fewer learns their accidents, and is left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture import Committees, Mixture, Stacking, Temperature, Vote, Weighted

ROWS = 10  # for each fitted number and each class: with fewer, what is fitted is unstable (Peduzzi et al. 1996)


def rows_needed(mixture: Mixture, weight_M: NDArray[np.float64], rows: int, classes: int) -> int:
    """Count the rows that a fit which came to `mixture` should have had at least; 0 where nothing was fitted.

    Args:
        mixture: what a combiner returned.
        weight_M: the members' own weights that it was given [M].
        rows: on which it was fitted.
        classes: that it tells apart; 0 for values.
    """
    numbers = fitted_numbers(mixture, weight_M, rows)
    return math.ceil(ROWS * (numbers + classes)) if numbers else 0


def fitted_numbers(mixture: Mixture, weight_M: NDArray[np.float64], rows: int) -> float:
    """Count the free numbers of a mixture that were fitted.

    Weights of at least zero that sum to 1 count for no more than their excess risk allows, which grows with the logarithm of
    the members alone (Tsybakov 2003, convex aggregation): so a selection from a large library needs few rows.

    Args:
        mixture: what a combiner returned.
        weight_M: the members' own weights that it was given [M].
        rows: on which it was fitted.
    """
    if isinstance(mixture, Temperature):
        return 1 + fitted_numbers(mixture.inner, weight_M, rows)
    if isinstance(mixture, Committees):
        return fitted_numbers(mixture.inner, np.full(len(mixture.weights), 1 / len(mixture.weights)), rows)
    if takes_member_weights(mixture, weight_M):
        return 0
    if isinstance(mixture, Stacking):
        members, classes, _ = mixture.coefficients.shape
        return (classes - 1) * (members * classes + 1)
    if isinstance(mixture, Weighted | Vote) and bool((mixture.weights >= 0).all()) and not _bias(mixture):
        members, rows = len(mixture.weights), max(rows, ROWS**2)
        return min(members - 1, math.sqrt(rows * math.log1p(members / math.sqrt(rows))))
    return sum(buffer.numel() for buffer in mixture.buffers())


def takes_member_weights(mixture: Mixture, weight_M: NDArray[Any]) -> bool:
    """Tell whether a mixture consists of the members' own weights `weight_M` [M], so that nothing in it was fitted."""
    if type(mixture) not in (Weighted, Vote) or _bias(mixture):
        return False
    return np.array_equal(mixture.get_buffer("weights").numpy(), weight_M)


def is_selection(mixture: Mixture, weight_M: NDArray[Any]) -> bool:
    """Tell whether a mixture is the plain mean of some members, or one alone: which ones is all that was fitted.

    Args:
        mixture: what a combiner returned.
        weight_M: the members' own weights that it was given [M]; where those of the selected differ, it is none.
    """
    if type(mixture) not in (Weighted, Vote) or _bias(mixture):
        return False
    share_M = mixture.get_buffer("weights").numpy()
    return all(len(np.unique(values[share_M != 0])) == 1 for values in (share_M, weight_M))


def _bias(mixture: Mixture) -> bool:
    return isinstance(mixture, Weighted) and bool(mixture.bias)
