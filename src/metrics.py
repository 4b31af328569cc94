"""Pure functions on predictions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss, mean_absolute_error, r2_score, root_mean_squared_error

BINS = 15


def score(task: str, predictions: NDArray[Any], y_N: NDArray[Any]) -> dict[str, float]:
    """Accuracy, NLL and ECE of probabilities [N, C], or RMSE, MAE and R² of values [N]."""
    if task == "regression":
        return {
            "rmse": float(root_mean_squared_error(y_N, predictions)),
            "mae": float(mean_absolute_error(y_N, predictions)),
            "r2": float(r2_score(y_N, predictions)),
        }
    p_NC = np.asarray(predictions, dtype=np.float64)
    p_NC = p_NC / p_NC.sum(1, keepdims=True)
    return {
        "accuracy": float((p_NC.argmax(1) == y_N).mean()),
        "nll": float(log_loss(y_N, p_NC, labels=np.arange(p_NC.shape[1]))),
        "ece": calibration_error(p_NC, y_N),
    }


def calibration_error(p_NC: NDArray[np.float64], y_N: NDArray[np.int64]) -> float:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017): the mean gap of confidence and accuracy."""
    confidence, hit = p_NC.max(1), p_NC.argmax(1) == y_N
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(hit[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def selection(task: str) -> str:
    """The metric by which one ensemble is preferred to another; lower is better."""
    return "rmse" if task == "regression" else "nll"
