"""Forward selection without replacement: the order in which members help their mean most, and what n of them are worth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture_loss import losses, true_class_probability
from src.ensembles.row_folds import folds


def order(p_MNC: NDArray[Any], y_N: NDArray[Any], most: int) -> list[int]:
    """Select up to `most` members, each time the one with which the mean of those selected is best.

    Args:
        p_MNC: predictions of the members, [M, N, C] or [M, N].
        y_N: targets of these rows.
        most: members at most.
    """
    classes, t_MN = np.ndim(p_MNC) == 3, true_class_probability(p_MNC, y_N)
    selected: list[int] = []
    sum_N = np.zeros(len(y_N))
    while len(selected) < min(most, len(t_MN)):
        values_M = losses((sum_N + t_MN) / (len(selected) + 1), classes).mean(1)
        values_M[selected] = np.inf
        selected.append(int(values_M.argmin()))
        sum_N += t_MN[selected[-1]]
    return selected


def losses_by_size(p_MNC: NDArray[Any], y_N: NDArray[Any], most: int) -> NDArray[np.float64]:
    """Compute the loss of every row by the mean of the best n members, for n from 1, chosen on other rows: [n, N].

    Args:
        p_MNC: predictions of the members, [M, N, C] or [M, N].
        y_N: targets of these rows.
        most: the largest n.
    """
    classes, t_MN = np.ndim(p_MNC) == 3, true_class_probability(p_MNC, y_N)
    losses_nN = np.empty((min(most, len(t_MN)), len(y_N)))
    for fit_rows, judged_rows in folds(y_N, 5):
        chosen = order(p_MNC[:, fit_rows], y_N[fit_rows], most)
        means_nN = t_MN[chosen][:, judged_rows].cumsum(0) / np.arange(1, len(chosen) + 1)[:, None]
        losses_nN[:, judged_rows] = losses(means_nN, classes)
    return losses_nN
