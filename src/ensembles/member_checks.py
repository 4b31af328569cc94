"""Checks of what was trained against its like: predictions that collapsed or became worse are not believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.metrics.measures.nll import negative_log_likelihood

CONSTANT = 1e-3  # of the spread that there could be: predictions that vary less over rows tell no row from another
MUCH_WORSE = 3.0  # times the error of its like
WORSE = 1.05  # times the error of what it would replace
SURE = 4.0  # standard errors of the mean difference over rows


class Errors(NamedTuple):
    """Errors of every row [N] by predictions and by their reference, and the mean of such errors as people write it."""

    ours: NDArray[np.float64]
    theirs: NDArray[np.float64]
    figure: Callable[[float], float]
    unit: str


def complaint(
    predictions: NDArray[Any], reference: NDArray[Any] | None, y_N: NDArray[Any], replaces: bool = False
) -> str:
    """Say in a few words why `predictions` are not to be believed; an empty text if they may be.

    Args:
        predictions: probabilities [N, C] or values [N].
        reference: the same of its like, or of what it would replace; None where there is nothing to compare with.
        y_N: the targets, classes or values.
        replaces: whether it would replace the reference, and so must not be worse; else it must not be much worse.
    """
    if not np.isfinite(predictions).all():
        return "it predicts numbers that are not finite"
    if is_constant(predictions, y_N) and not is_constant(y_N if reference is None else reference, y_N):
        return "it has collapsed: it predicts the same for every row"
    for errors in () if reference is None else _errors(predictions, reference, y_N, replaces):
        ours, theirs = errors.figure(float(errors.ours.mean())), errors.figure(float(errors.theirs.mean()))
        if ours > theirs * (WORSE if replaces else MUCH_WORSE) and _is_beyond_chance(errors.ours - errors.theirs):
            return f"it is {'' if replaces else 'much '}worse: {errors.unit} {ours:.3g} where {theirs:.3g} was expected"
    return ""


def is_constant(predictions: NDArray[Any], y_N: NDArray[Any]) -> bool:
    """Tell whether predictions are the same for all rows; values are measured by the spread of the targets `y_N`."""
    unit = float(np.std(y_N)) if predictions.ndim == 1 else 1.0
    return bool(np.std(np.asarray(predictions, np.float64), 0).max() <= CONSTANT * unit)


def row_errors(predictions: NDArray[Any], y_N: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the error of every row: squared, of values [N], or 1 where the class of `predictions` [N, C] is not `y_N`."""
    if predictions.ndim == 1:
        return np.asarray((np.asarray(predictions, np.float64) - y_N) ** 2)
    return np.asarray(predictions.argmax(1) != y_N, np.float64)


def _errors(predictions: NDArray[Any], reference: NDArray[Any], y_N: NDArray[Any], replaces: bool) -> Iterator[Errors]:
    """The errors by which predictions are compared with their reference.

    The likelihood counts where one replaces the other alone: members may differ much in how sure they are.
    """
    ours, theirs = row_errors(predictions, y_N), row_errors(reference, y_N)
    if predictions.ndim == 1:
        yield Errors(ours, theirs, np.sqrt, "RMSE")
        return
    yield Errors(ours, theirs, float, "share of missed rows")
    if replaces:
        rows = np.arange(len(y_N))
        ours, theirs = (negative_log_likelihood(p_NC[rows, y_N]) for p_NC in (predictions, reference))
        yield Errors(ours, theirs, float, "NLL")


def _is_beyond_chance(difference_N: NDArray[np.float64]) -> bool:
    """Tell whether differences of errors are above zero by their mean, or by their signs, which few rows cannot hide."""
    for values in (difference_N, np.sign(difference_N)):
        deviation = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf
        if values.mean() > SURE * deviation:
            return True
    return False
