"""Soft vote: the mean of the members' probabilities, or of their values."""

from typing import Any

from numpy.typing import NDArray

from src.ensembles.mixture import Weighted


def average(p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any]) -> Weighted:
    """Every member by its own say."""
    return Weighted(weight_M)
