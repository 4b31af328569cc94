"""Accuracy: the share of the rows whose class is answered."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions


def hits(predictions: ClassPredictions) -> Array:
    """1 where the class is answered, else 0, [K, N]."""
    return np.equal(predictions.classes_KN, predictions.y_KN).astype(np.float64)


METRIC = Metric(task="classification", higher_is_better=True, rows=hits, percent=True, order=1)
