"""The best few: members taken one after another, each once, so that their mean is best. What n members are worth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture_loss import losses, true_class_probability
from src.ensembles.row_folds import folds


def order(p_MNC: NDArray[Any], y_N: NDArray[Any], most: int) -> list[int]:
    """The first `most` members by forward selection without replacement."""
    classes, t_MN = np.ndim(p_MNC) == 3, true_class_probability(p_MNC, y_N)
    taken: list[int] = []
    sum_N = np.zeros(len(y_N))
    while len(taken) < min(most, len(t_MN)):
        values_M = losses((sum_N + t_MN) / (len(taken) + 1), classes).mean(1)
        values_M[taken] = np.inf
        taken.append(int(values_M.argmin()))
        sum_N += t_MN[taken[-1]]
    return taken


def judged(p_MNC: NDArray[Any], y_N: NDArray[Any], most: int) -> NDArray[np.float64]:
    """The loss of every row by the mean of the first n of that order [n, N], chosen on other rows."""
    classes, t_MN = np.ndim(p_MNC) == 3, true_class_probability(p_MNC, y_N)
    found = np.empty((min(most, len(t_MN)), len(y_N)))
    for others, mine in folds(y_N, 5):
        chosen = order(p_MNC[:, others], y_N[others], most)
        means_nN = t_MN[chosen][:, mine].cumsum(0) / np.arange(1, len(chosen) + 1)[:, None]
        found[:, mine] = losses(means_nN, classes)
    return found
