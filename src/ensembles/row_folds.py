"""Validation rows divided into parts, so that what was fitted on the others is judged on each."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture import Mixture

Fit = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Mixture]


def folds(y_N: NDArray[Any], n: int, seed: int = 0) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit on and rows to judge, `n` times: stratified where every class has a row for each part."""
    from sklearn.model_selection import KFold, StratifiedKFold

    classes = np.issubdtype(np.asarray(y_N).dtype, np.integer)
    stratify = classes and np.unique(y_N, return_counts=True)[1].min() >= n
    parts = (StratifiedKFold if stratify else KFold)(min(n, len(y_N)), shuffle=True, random_state=seed)
    yield from parts.split(np.zeros(len(y_N)), y_N)


def cross_validated(
    fit: Fit, p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any], n: int = 5, seed: int = 0
) -> NDArray[np.float64]:
    """What a combiner predicts for every row [N, C] or [N], fitted on the other parts."""
    joined = np.empty(np.shape(p_MNC)[1:])
    for others, mine in folds(y_N, n, seed):
        joined[mine] = fit(p_MNC[:, others], y_N[others], weight_M).predict(p_MNC[:, mine])
    return joined
