"""Predictions become figures: all of one model, or those of an epoch of K models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.metrics.listing import metrics_of
from src.metrics.predictions import ClassPredictions, ValuePredictions

Predictions = ClassPredictions | ValuePredictions


def score(
    task: str,
    predictions: NDArray[Any],
    y_N: NDArray[Any],
    members: NDArray[Any] | None = None,
    shares_M: NDArray[Any] | None = None,
) -> dict[str, float]:
    """Compute every metric of a task by its name; NaN where it is undefined.

    Args:
        task: `classification` or `regression`.
        predictions: probabilities [N, C] or values [N].
        y_N: the true classes or values.
        members: what the members of an ensemble predict, [M, N, C] or [M, N]; of a single model None.
        shares_M: the weights of the members, which sum to 1.
    """
    of_one = predictions_of(task, predictions, y_N, members, shares_M)
    return {name: float(metric(of_one)[0]) for name, metric in metrics_of(task).items()}


def predictions_of(
    task: str,
    predictions: NDArray[Any],
    y_N: NDArray[Any],
    members: NDArray[Any] | None = None,
    shares_M: NDArray[Any] | None = None,
) -> Predictions:
    """Wrap the predictions of one model as metrics take them.

    The arguments `task`, `predictions`, `y_N`, `members` and `shares_M` are those of `score`.
    """
    if task == "regression":
        return ValuePredictions(np.asarray(predictions)[None], np.asarray(y_N)[None], members, shares_M)
    return ClassPredictions.of(predictions, y_N)


def row_losses(task: str, predictions: NDArray[Any], y_N: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Compute the contribution of each row [N], in 64 bits, to every metric that is a mean over rows.

    The arguments `task`, `predictions` and `y_N` are those of `score`.
    """
    of_one = predictions_of(task, np.asarray(predictions, np.float64), y_N)
    return {
        name: np.asarray(metric.rows(of_one)[0], np.float64)
        for name, metric in metrics_of(task).items()
        if metric.rows is not None
    }


def epoch_curves(predictions: Predictions, further: Sequence[str] = ()) -> dict[str, list[float]]:
    """The curves' points after an epoch of K models, `val/<metric>`: those of every epoch, and the `further` ones."""
    task = "classification" if isinstance(predictions, ClassPredictions) else "regression"
    return {
        f"val/{name}": np.asarray(metric(predictions), np.float64).tolist()
        for name, metric in metrics_of(task).items()
        if metric.per_epoch or name in further
    }
