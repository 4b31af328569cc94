"""Stacking (Wolpert 1992): a regularized model of the members' predictions on rows that none of them was trained on."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.combiners.folds import folds
from src.combiners.joint import LEAST, Joint, Stacking, Weighted


def stacking(
    p_MNC: NDArray[Any],
    y_N: NDArray[Any],
    weight_M: NDArray[Any],
    *,
    strengths: Annotated[list[float], Field(min_length=1)],
    parts: Annotated[int, Field(ge=2)],
) -> Joint:
    """Logistic regression on log-probabilities, or ridge on values; the penalty by cross-validation in `parts`."""
    if np.ndim(p_MNC) == 3:
        return _logistic(np.asarray(p_MNC, np.float64), y_N, strengths, parts)
    return _ridge(np.asarray(p_MNC, np.float64), y_N, weight_M, strengths, parts)


def _logistic(p_MNC: NDArray[np.float64], y_N: NDArray[Any], strengths: list[float], parts: int) -> Joint:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    m, n, c = p_MNC.shape
    x_NF = np.log(np.maximum(p_MNC, LEAST)).transpose(1, 0, 2).reshape(n, m * c)
    names = np.arange(c)

    def fitted(rows: Any, strength: float) -> Stacking:
        there = np.unique(y_N[rows])
        coefficients, intercept = np.zeros((m * c, c)), np.full(c, -50.0)  # a class without rows stays improbable
        intercept[there] = 0.0
        if len(there) > 1:
            model = LogisticRegression(C=1 / (strength * len(y_N[rows])), max_iter=500).fit(x_NF[rows], y_N[rows])
            if len(there) == 2:  # scikit-learn keeps one line: the second class against the first
                coefficients[:, there[1]], intercept[there[1]] = model.coef_[0], model.intercept_[0]
            else:
                coefficients[:, there], intercept[there] = model.coef_.T, model.intercept_
        return Stacking(coefficients.reshape(m, c, c), intercept)

    def loss(strength: float) -> float:
        pairs = list(folds(y_N, parts))
        p_NC = np.concatenate([fitted(others, strength).predict(p_MNC[:, mine]) for others, mine in pairs])
        return float(log_loss(np.concatenate([y_N[mine] for _, mine in pairs]), p_NC, labels=names))

    best = min(strengths, key=loss) if len(strengths) > 1 else strengths[0]
    return fitted(np.arange(n), best)


def _ridge(
    values_MN: NDArray[np.float64], y_N: NDArray[Any], weight_M: NDArray[Any], strengths: list[float], parts: int
) -> Joint:
    """Ridge on how the members differ from their mean, so that the penalty pulls towards the mean, not towards zero."""
    from sklearn.linear_model import Ridge

    mean_N = weight_M @ values_MN
    x_NM, rest_N = (values_MN - mean_N).T, y_N - mean_N
    unit = float(x_NM.std()) or 1.0

    def fitted(rows: Any, strength: float) -> Ridge:
        return Ridge(alpha=strength * len(rest_N[rows])).fit(x_NM[rows] / unit, rest_N[rows])

    def loss(strength: float) -> float:
        pairs = folds(y_N, parts)
        return float(
            np.concatenate([(fitted(o, strength).predict(x_NM[k] / unit) - rest_N[k]) ** 2 for o, k in pairs]).mean()
        )

    model = fitted(np.arange(len(rest_N)), min(strengths, key=loss))
    v_M = model.coef_ / unit
    return Weighted(weight_M + v_M - v_M.sum() * weight_M, model.intercept_)
