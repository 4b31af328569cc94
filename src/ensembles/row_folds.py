"""Folds of the validation rows: a combiner that was fitted on the others is judged on each."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture import Mixture

Fit = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Mixture]


def folds(y_N: NDArray[Any], n: int, seed: int = 0) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows to fit on and rows to judge, `n` times: stratified where every class has a row for each fold.

    Args:
        y_N: targets of all rows.
        n: how many folds.
        seed: of their order.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    classes = np.issubdtype(np.asarray(y_N).dtype, np.integer)
    stratify = classes and np.unique(y_N, return_counts=True)[1].min() >= n
    parts = (StratifiedKFold if stratify else KFold)(min(n, len(y_N)), shuffle=True, random_state=seed)
    yield from parts.split(np.zeros(len(y_N)), y_N)


def cross_validated(
    fit: Fit, p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any], n: int = 5, seed: int = 0
) -> NDArray[np.float64]:
    """Predict every row, [N, C] or [N], by a combiner that was fitted on the other folds.

    Args:
        fit: the combiner.
        p_MNC: predictions of the members, [M, N, C] or [M, N].
        y_N: targets of these rows.
        weight_M: the members' own weights, sum 1.
        n: how many folds.
        seed: of their order.
    """
    predictions = np.empty(np.shape(p_MNC)[1:])
    for fit_rows, judged_rows in folds(y_N, n, seed):
        mixture = fit(p_MNC[:, fit_rows], y_N[fit_rows], weight_M)
        predictions[judged_rows] = mixture.predict(p_MNC[:, judged_rows])
    return predictions
