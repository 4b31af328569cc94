"""Hard vote: the class that most members predict; for a regression the median of their values."""

from typing import Any

from numpy.typing import NDArray

from src.ensembles.mixture import Vote


def vote(p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any]) -> Vote:
    """Every member by its own say, as in SAMME (Hastie et al. 2009) and AdaBoost.R2 (Drucker 1997)."""
    return Vote(weight_M)
