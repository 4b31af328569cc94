"""Root mean squared error, in the unit of the target. A training's curve of it is taken from its loss."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ValuePredictions


def squared_errors(predictions: ValuePredictions) -> Array:
    """Squared errors, [K, N]."""
    return np.asarray((predictions.y_KN - predictions.values_KN) ** 2)


METRIC = Metric(
    task="regression", higher_is_better=False, rows=squared_errors, from_mean=np.sqrt, per_epoch=False, order=1
)
