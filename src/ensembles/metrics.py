"""Pure functions on predictions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

BINS = 15
LEAST = 1e-12  # a probability below costs as much as this one


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
        "nll": float(negative_log_likelihood(p_NC[np.arange(len(y_N)), y_N]).mean()),
        "ece": calibration_error(p_NC, y_N),
    }


def negative_log_likelihood(true_class_probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """−log of what is given to the true class, of any shape: the NLL is its mean over rows."""
    return np.asarray(-np.log(np.maximum(true_class_probability, LEAST)))


def reliability(p_NC: NDArray[Any], y_N: NDArray[Any]) -> list[dict[str, float]]:
    """Confidence and accuracy of the rows in each of 15 bins of confidence of equal width."""
    p_NC = np.asarray(p_NC, np.float64)
    confidence, hit = p_NC.max(1), p_NC.argmax(1) == y_N
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    inside = [bins == b for b in np.unique(bins)]
    return [
        {"confidence": float(confidence[i].mean()), "accuracy": float(hit[i].mean()), "rows": int(i.sum())}
        for i in inside
    ]


def calibration_error(p_NC: NDArray[np.float64], y_N: NDArray[np.int64]) -> float:
    """Expected calibration error (Guo et al. 2017): the mean gap of confidence and accuracy."""
    bins = reliability(p_NC, y_N)
    return float(sum(abs(b["accuracy"] - b["confidence"]) * b["rows"] for b in bins) / len(y_N))


def selection(task: str) -> str:
    """The metric by which one ensemble is preferred to another; lower is better."""
    return "rmse" if task == "regression" else "nll"
