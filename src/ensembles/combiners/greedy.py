"""Ensemble selection from libraries of models (Caruana et al. 2004): forward, with replacement, sorted start, bagged."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.ensembles.mixture import Weighted
from src.ensembles.mixture_loss import losses, true_class_probability


def greedy(
    p_MNC: NDArray[Any],
    y_N: NDArray[Any],
    weight_M: NDArray[Any],
    *,
    steps: Annotated[int, Field(gt=0)],
    bags: Annotated[int, Field(gt=0)],
    fraction: Annotated[float, Field(gt=0, le=1)],
) -> Weighted:
    """Average several selections, each from a random part of the members; never worse than the best member.

    A selection starts with the best member and takes up to `steps` more, each time the one that helps the mean most, the
    same again if it is that one, and is cut back to where it was best.

    Args:
        p_MNC: predictions of the members, [M, N, C] or [M, N], for rows that none was trained on.
        y_N: targets of these rows.
        weight_M: the members' own weights, sum 1; they have no part in it.
        steps: members that a selection takes at most.
        bags: how many selections.
        fraction: of the members, for each selection.
    """
    classes, t_MN = np.ndim(p_MNC) == 3, true_class_probability(p_MNC, y_N)
    rng, n = np.random.default_rng(0), len(t_MN)
    size = max(1, round(fraction * n))
    weights_M = np.zeros(n)
    for _ in range(bags):
        positions = np.sort(rng.choice(n, size, replace=False)) if bags > 1 else np.arange(n)
        weights_M[positions] += selected(t_MN[positions], classes, steps) / bags
    alone_M = losses(t_MN, classes).mean(1)
    if losses(weights_M @ t_MN, classes).mean() > alone_M.min():  # bags without the best member can be worse than it
        weights_M = np.eye(n)[alone_M.argmin()]
    return Weighted(weights_M)


def selected(t_MN: NDArray[np.float64], classes: bool, steps: int) -> NDArray[np.float64]:
    """Select members with replacement, and return how often each was taken as weights [M].

    Args:
        t_MN: of `true_class_probability`.
        classes: true of probabilities, false of values.
        steps: members taken at most.
    """
    counts_M = np.zeros(len(t_MN))
    counts_M[losses(t_MN, classes).mean(1).argmin()] = 1
    best_M, best = counts_M.copy(), np.inf
    for taken in range(1, steps + 2):
        sum_N = counts_M @ t_MN
        value = losses(sum_N / taken, classes).mean()
        if value < best:
            best_M, best = counts_M / taken, value
        counts_M[losses((sum_N + t_MN) / (taken + 1), classes).mean(1).argmin()] += 1
    return best_M
