"""Coefficient of determination R²: the share of the variance that is explained; 0 is what the mean explains."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ValuePredictions


def r2(predictions: ValuePredictions) -> Array:
    """R², [K]; of a target that does not vary 1 where it is predicted exactly, else 0, as scikit-learn has it."""
    y_KN = predictions.y_KN.astype(np.result_type(predictions.y_KN, predictions.values_KN))
    left_K = ((y_KN - predictions.values_KN) ** 2).sum(1)
    whole_K = ((y_KN - y_KN.mean(1, keepdims=True)) ** 2).sum(1)
    share_K = np.divide(left_K, whole_K, out=(left_K != 0).astype(left_K.dtype), where=whole_K != 0)
    return np.asarray(1 - share_K)


METRIC = Metric(task="regression", higher_is_better=True, whole=r2, order=3)
