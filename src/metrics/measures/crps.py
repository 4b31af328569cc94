"""Continuous ranked probability score of the members of an ensemble as a distribution (Gneiting & Raftery 2007)."""

import numpy as np
from numpy.typing import NDArray

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ValuePredictions


def crps(values_MN: Array, y_N: Array, shares_M: Array) -> float:
    """Σ w|x − y| − ½ ΣΣ w w'|x − x'|, equation 21, mean over rows. Of one member it is the mean absolute error.

    Args:
        values_MN: what the members predict.
        y_N: the true values.
        shares_M: the weights w of the members, which sum to 1.
    """
    order_MN = np.argsort(values_MN, 0)
    x_MN, w_MN = np.take_along_axis(np.asarray(values_MN, np.float64), order_MN, 0), shares_M[order_MN]
    below_MN = w_MN.cumsum(0)  # ½ ΣΣ w w'|x − x'| = Σ gaps · below · above
    spread = (np.diff(x_MN, axis=0) * below_MN[:-1] * (1 - below_MN[:-1])).sum(0)
    return float((shares_M @ abs(np.asarray(values_MN, np.float64) - y_N) - spread).mean())


def of_members(predictions: ValuePredictions) -> NDArray[np.float64]:
    """CRPS of the members, or of each of K single models that has none, [K]."""
    if predictions.members_MN is not None and predictions.shares_M is not None:
        return np.array([crps(predictions.members_MN, predictions.y_KN[0], predictions.shares_M)])
    one = np.ones(1)
    return np.array(
        [crps(v_N[None], y_N, one) for v_N, y_N in zip(predictions.values_KN, predictions.y_KN, strict=True)]
    )


METRIC = Metric(task="regression", higher_is_better=False, whole=of_members, per_epoch=False, order=4)
