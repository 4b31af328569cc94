"""Stacking (Wolpert 1992), a regularized model of the members' predictions on rows that none of them was trained on."""

import warnings
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.ensembles.mixture import LEAST, Mixture, Stacking, Weighted
from src.ensembles.mixture_loss import losses, true_class_probability
from src.ensembles.row_folds import folds

Pairs = list[tuple[NDArray[np.int64], NDArray[np.int64]]]  # rows to fit on, rows to judge


def stacking(
    p_MNC: NDArray[Any],
    y_N: NDArray[Any],
    weight_M: NDArray[Any],
    *,
    strengths: Annotated[list[float], Field(min_length=1)],
    parts: Annotated[int, Field(ge=2)],
    rows: Annotated[int, Field(ge=10)],
) -> Mixture:
    """Fit a logistic regression on log-probabilities, or ridge on values.

    Args:
        p_MNC: predictions of the members, [M, N, C] or [M, N], for rows that none was trained on.
        y_N: targets of these rows.
        weight_M: the members' own weights, sum 1; a regression is pulled towards their mean.
        strengths: candidates of the penalty a row, of which cross-validation chooses.
        parts: folds of that cross-validation.
        rows: used for it at most.
    """
    sample = np.sort(np.random.default_rng(0).permutation(len(y_N))[:rows])
    pairs: Pairs = []
    if len(strengths) > 1:
        pairs = [(sample[fit], sample[judged]) for fit, judged in folds(y_N[sample], parts)]
    if np.ndim(p_MNC) == 3:
        return _logistic(np.asarray(p_MNC, np.float64), y_N, strengths, pairs)
    return _ridge(np.asarray(p_MNC, np.float64), y_N, weight_M, strengths, pairs)


def _logistic(p_MNC: NDArray[np.float64], y_N: NDArray[Any], strengths: list[float], pairs: Pairs) -> Mixture:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    m, n, c = p_MNC.shape
    x_NF = np.log(np.maximum(p_MNC, LEAST)).transpose(1, 0, 2).reshape(n, m * c)

    def fitted(rows: Any, strength: float) -> Stacking:
        there = np.unique(y_N[rows])
        coefficients, intercept = np.zeros((m * c, c)), np.full(c, -50.0)  # a class without rows stays improbable
        intercept[there] = 0.0
        if len(there) > 1:
            model = LogisticRegression(C=1 / (strength * len(rows)), max_iter=500)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # to stop early is a penalty too
                model.fit(x_NF[rows], y_N[rows])
            if len(there) == 2:  # scikit-learn keeps one line: the second class against the first
                coefficients[:, there[1]], intercept[there[1]] = model.coef_[0], model.intercept_[0]
            else:
                coefficients[:, there], intercept[there] = model.coef_.T, model.intercept_
        return Stacking(coefficients.reshape(m, c, c), intercept)

    def loss(strength: float) -> float:
        predictions = [(fitted(fit, strength).predict(p_MNC[:, judged]), y_N[judged]) for fit, judged in pairs]
        return float(
            np.concatenate([losses(true_class_probability(p_NC[None], y), True)[0] for p_NC, y in predictions]).mean()
        )

    return fitted(np.arange(n), min(strengths, key=loss) if pairs else strengths[0])


def _ridge(
    values_MN: NDArray[np.float64], y_N: NDArray[Any], weight_M: NDArray[Any], strengths: list[float], pairs: Pairs
) -> Mixture:
    """Ridge on how the members differ from their mean, so that the penalty pulls towards the mean, not towards zero."""
    from sklearn.linear_model import Ridge

    mean_N = weight_M @ values_MN
    x_NM, rest_N = (values_MN - mean_N).T, y_N - mean_N
    unit = float(x_NM.std()) or 1.0

    def fitted(rows: Any, strength: float) -> Ridge:
        return Ridge(alpha=strength * len(rows)).fit(x_NM[rows] / unit, rest_N[rows])

    def loss(strength: float) -> float:
        errors = [fitted(o, strength).predict(x_NM[k] / unit) - rest_N[k] for o, k in pairs]
        return float((np.concatenate(errors) ** 2).mean())

    model = fitted(np.arange(len(rest_N)), min(strengths, key=loss) if pairs else strengths[0])
    v_M = model.coef_ / unit
    return Weighted(weight_M + v_M - v_M.sum() * weight_M, model.intercept_)
