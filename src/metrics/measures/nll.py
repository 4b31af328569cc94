"""Negative log-likelihood: the mean of −log p of the true class, a proper score. A training's curve of it is `val/loss`."""

import numpy as np
from numpy.typing import NDArray

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions

LEAST = 1e-12  # a probability below costs as much as this one


def negative_log_likelihood(true_class_probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """−log of the probabilities of the true classes, of any shape: the NLL is its mean over rows."""
    return np.asarray(-np.log(np.maximum(true_class_probability, LEAST)))


def row_nll(predictions: ClassPredictions) -> Array:
    """−log p of the true class, [K, N]."""
    return negative_log_likelihood(np.take_along_axis(predictions.p_KNC, predictions.y_KN[:, :, None], 2)[:, :, 0])


METRIC = Metric(task="classification", higher_is_better=False, rows=row_nll, per_epoch=False, order=2)
