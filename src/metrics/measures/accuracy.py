"""Accuracy: the share of the rows whose class is answered."""

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions


def hits(given: ClassPredictions) -> Array:
    """1 where the class is answered, else 0, [K, N]."""
    return (given.classes_KN == given.y_KN).astype(float)


METRIC = Metric(task="classification", higher_is_better=True, rows=hits, percent=True, order=1)
