"""Mean absolute error, in the unit of the target."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ValuePredictions


def absolute_errors(predictions: ValuePredictions) -> Array:
    """Absolute errors, [K, N]."""
    return np.asarray(abs(predictions.values_KN - predictions.y_KN))


METRIC = Metric(task="regression", higher_is_better=False, rows=absolute_errors, order=2)
