"""Checks of what was trained against its like: predictions that collapsed or became much worse are not believed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CONSTANT = 1e-3  # of the spread that there could be: predictions that vary less over rows tell no row from another
MUCH_WORSE = 3.0  # times the error of its like
WORSE = 1.05  # times the error of what it replaces, which there is no need to replace
SURE = 4.0  # standard errors of the mean difference over rows


def complaint(
    predictions: NDArray[Any], reference: NDArray[Any] | None, y_N: NDArray[Any], factor: float = MUCH_WORSE
) -> str:
    """Say in a few words why `predictions` are not to be believed; an empty text if they may be.

    Args:
        predictions: probabilities [N, C] or values [N].
        reference: the same of its like, or of what it replaces; None where there is nothing to compare with.
        y_N: the targets, classes or values.
        factor: how many times the error of `reference` is too much, where it is beyond chance too.
    """
    if not np.isfinite(predictions).all():
        return "it predicts numbers that are not finite"
    if is_constant(predictions, y_N) and not is_constant(y_N if reference is None else reference, y_N):
        return "it has collapsed: it predicts the same for every row"
    if reference is not None and worse(predictions, reference, y_N, factor):
        return f"it is much worse: {error_text(predictions, y_N)} where {error_text(reference, y_N)} was expected"
    return ""


def is_constant(predictions: NDArray[Any], y_N: NDArray[Any]) -> bool:
    """Tell whether predictions are the same for all rows, measured by the spread of `y_N`."""
    unit = float(np.std(y_N)) if predictions.ndim == 1 else 1.0
    return bool(np.std(np.asarray(predictions, np.float64), 0).max() <= CONSTANT * unit)


def worse(predictions: NDArray[Any], reference: NDArray[Any], y_N: NDArray[Any], factor: float) -> bool:
    """Tell whether the error of `predictions` is above `factor` times that of `reference`, and above it beyond chance.

    The error is the root mean squared one of values, or the share of missed classes; `y_N` are the targets.
    """
    difference = row_errors(predictions, y_N) - row_errors(reference, y_N)
    theirs, power = float(row_errors(reference, y_N).mean()), 2 if predictions.ndim == 1 else 1
    return bool(theirs + difference.mean() > factor**power * theirs) and _is_beyond_chance(difference)


def _is_beyond_chance(difference_N: NDArray[np.float64]) -> bool:
    """Whether differences of errors are above zero by their mean, or by their signs, which a few wild rows cannot hide."""
    means = []
    for values in (difference_N, np.sign(difference_N)):
        deviation = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf
        means.append(values.mean() > SURE * deviation)
    return any(means)


def row_errors(predictions: NDArray[Any], y_N: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the error of every row: squared, of values [N], or 1 where the class of `predictions` [N, C] is not `y_N`."""
    if predictions.ndim == 1:
        return np.asarray((np.asarray(predictions, np.float64) - y_N) ** 2)
    return np.asarray(predictions.argmax(1) != y_N, np.float64)


def error_text(predictions: NDArray[Any], y_N: NDArray[Any]) -> str:
    """Write the error of `predictions` for targets `y_N` as people read it."""
    mean = float(row_errors(predictions, y_N).mean())
    return f"RMSE {np.sqrt(mean):.3g}" if predictions.ndim == 1 else f"{mean:.1%} missed"
