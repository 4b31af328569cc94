"""Brier score (Brier 1950): the mean squared error of the probabilities, summed over classes."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions


def squared_errors(predictions: ClassPredictions) -> Array:
    """Squared errors of the probabilities, summed over classes, [K, N]."""
    truth_KNC = np.eye(predictions.p_KNC.shape[2])[predictions.y_KN]
    return np.asarray(((predictions.p_KNC - truth_KNC) ** 2).sum(2))


METRIC = Metric(task="classification", higher_is_better=False, rows=squared_errors, per_epoch=False, order=4)
