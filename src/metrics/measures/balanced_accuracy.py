"""Balanced accuracy (Brodersen et al. 2010): the plain mean of the classes' recalls; the majority alone has 1 / classes."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions


def balanced_accuracy(predictions: ClassPredictions) -> Array:
    """Mean recall [K] of the classes that have rows."""
    hits_KC = np.diagonal(predictions.confusion_KCC, axis1=1, axis2=2)
    rows_KC = predictions.confusion_KCC.sum(2)
    return np.asarray((hits_KC / np.maximum(rows_KC, 1)).sum(1) / (rows_KC > 0).sum(1))


METRIC = Metric(task="classification", higher_is_better=True, whole=balanced_accuracy, percent=True)
