"""Macro F1: the plain mean of the classes' F1, the harmonic mean of precision and recall; each class counts alike."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions


def macro_f1(predictions: ClassPredictions) -> Array:
    """Mean F1 [K] of the classes that are true or answered for any row; one that is only either has 0."""
    hits_KC = np.diagonal(predictions.confusion_KCC, axis1=1, axis2=2)
    answers_KC, rows_KC = predictions.confusion_KCC.sum(1), predictions.confusion_KCC.sum(2)
    seen_KC = answers_KC + rows_KC
    f1_KC = 2 * hits_KC / np.maximum(seen_KC, 1)
    return np.asarray(f1_KC.sum(1) / (seen_KC > 0).sum(1))


METRIC = Metric(task="classification", higher_is_better=True, whole=macro_f1)
