"""Hard vote: the class that most members predict; for a regression the median of their values."""

from typing import Any

from numpy.typing import NDArray

from src.ensembles.mixture import Vote


def vote(p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any]) -> Vote:
    """Let members vote by their own weights `weight_M` [M], as SAMME (Zhu et al. 2009) and AdaBoost.R2 (Drucker 1997) do.

    `p_MNC` and `y_N` have no part in it.
    """
    return Vote(weight_M)
