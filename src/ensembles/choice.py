"""The choice between candidates: of those within one standard error of the best, the simplest (Breiman et al. 1984)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture import Weighted
from src.ensembles.row_folds import Fit, folds
from src.metrics.metric import Metric
from src.metrics.scoring import Predictions, predictions_of

Array = NDArray[Any]
FOLDS = 5  # of the validation rows, on each of which a metric is computed that is no mean over rows


class Gap(NamedTuple):
    """Mean of the differences between two models' losses on the same rows or folds, and its standard error."""

    mean: float
    error: float

    @property
    def is_within_one_error(self) -> bool:
        """Tell whether the first model is better, or worse by no more than one standard error."""
        return self.mean <= self.error


def losses(metric: Metric, predict: Callable[[NDArray[np.int64]], Predictions], y_N: Array) -> NDArray[np.float64]:
    """Compute what a metric makes of each row, or of each fold where it is no mean over rows; lower is better.

    Args:
        metric: the one that chooses.
        predict: gives the predictions for some rows, by their numbers.
        y_N: targets of all rows [N].
    """
    sign = -1.0 if metric.higher_is_better else 1.0
    if metric.rows is not None:
        return sign * np.asarray(metric.rows(predict(np.arange(len(y_N))))[0], np.float64)
    return sign * np.array([float(metric(predict(judged))[0]) for _, judged in folds(y_N, FOLDS)])


def gap(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Gap:
    """Compare the losses of two models on the same rows or folds, those on which both are defined.

    Where fewer than two are, nothing is known: the standard error is infinite.
    """
    difference = ours - theirs
    difference = difference[np.isfinite(difference)]
    if len(difference) < 2:
        return Gap(0.0, np.inf)
    return Gap(float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference))))


def simplest(
    value: Mapping[str, float], loss: Mapping[str, NDArray[np.float64]], complexity: Mapping[str, float]
) -> tuple[str, str]:
    """Name the candidate that is chosen, and the best: of those within one standard error of this, the simplest.

    Of equally simple ones the better is chosen.

    Args:
        value: the loss of each candidate over all rows.
        loss: its losses, of `losses`.
        complexity: of its combiner.
    """
    best = min(value, key=lambda name: value[name])
    within = [name for name in value if name == best or gap(loss[name], loss[best]).is_within_one_error]
    return min(within, key=lambda name: (complexity[name], value[name])), best


def best_member(metric: Metric) -> Fit:
    """Make the combiner that takes the member which `metric` prefers on the rows of its fit, and no other."""

    def fit(p_MNC: Array, y_N: Array, weight_M: Array) -> Weighted:
        values = [
            metric.loss(float(metric(predictions_of(metric.task, p, y_N, p[None], np.ones(1)))[0])) for p in p_MNC
        ]
        return Weighted(np.eye(len(p_MNC))[int(np.argmin(values))])

    return fit
