"""Expected calibration error (Guo et al. 2017): the mean gap of confidence and accuracy in bins of confidence."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions

BINS = 15


def reliability(p_NC: Array, y_N: Array) -> list[dict[str, float]]:
    """Confidence and accuracy of the rows in each of 15 bins of confidence of equal width, and how many they are."""
    p_NC = np.asarray(p_NC, np.float64)
    confidence, hit = p_NC.max(1), p_NC.argmax(1) == y_N
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    inside = [bins == b for b in np.unique(bins)]
    return [
        {"confidence": float(confidence[i].mean()), "accuracy": float(hit[i].mean()), "rows": int(i.sum())}
        for i in inside
    ]


def calibration_error(p_NC: Array, y_N: Array) -> float:
    """The mean gap of confidence and accuracy, of one model; NaN where a probability is no number."""
    if not np.isfinite(p_NC).all():
        return float("nan")
    bins = reliability(p_NC, y_N)
    return float(sum(abs(b["accuracy"] - b["confidence"]) * b["rows"] for b in bins) / len(y_N))


def ece(predictions: ClassPredictions) -> Array:
    """Expected calibration error, [K]."""
    return np.array(
        [calibration_error(p_NC, y_N) for p_NC, y_N in zip(predictions.p_KNC, predictions.y_KN, strict=True)]
    )


METRIC = Metric(task="classification", higher_is_better=False, whole=ece, per_epoch=False, order=3)
