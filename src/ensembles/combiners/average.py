"""Soft vote: the mean of the members' probabilities, or of their values."""

from typing import Any

from numpy.typing import NDArray

from src.ensembles.mixture import Weighted


def average(p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any]) -> Weighted:
    """Average the members by their own weights `weight_M` [M]; `p_MNC` and `y_N` have no part in it."""
    return Weighted(weight_M)
