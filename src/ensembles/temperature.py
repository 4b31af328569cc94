"""Calibration of any combiner by a temperature, fitted on rows that the combiner was not fitted on (Guo et al. 2017)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture import Mixture, Temperature
from src.ensembles.row_folds import Fit, cross_validated
from src.system.errors import UserError

RANGE = (0.05, 20.0)


def calibrated(fit: Fit, p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any]) -> Mixture:
    """Fit a combiner, and the temperature that its cross-validated probabilities need.

    Args:
        fit: the combiner.
        p_MNC: probabilities that the members predict, [M, N, C].
        y_N: classes of these rows.
        weight_M: the members' own weights, sum 1.

    Raises:
        UserError: a regression has no probabilities.
    """
    if np.ndim(p_MNC) != 3:
        raise UserError("combiner.temperature: calibrates probabilities, which a regression has not; leave it false")
    return Temperature(fit(p_MNC, y_N, weight_M), temperature(cross_validated(fit, p_MNC, y_N, weight_M), y_N))


def temperature(p_NC: NDArray[np.float64], y_N: NDArray[Any]) -> float:
    """Find the temperature T for which the probabilities `p_NC` to the power 1 / T have the least NLL for classes `y_N`.

    One more row counts whose class may be any alike, as in Laplace's rule of succession and in Platt (1999): where all rows
    are right, as few can be by chance, T would else make every row certain.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    log_p_NC = np.log(np.maximum(p_NC, np.finfo(np.float64).tiny))
    rows = np.arange(len(y_N))

    def value(log_t: float) -> float:
        tempered_NC = log_softmax(log_p_NC / np.exp(log_t), 1)
        return -float(tempered_NC[rows, y_N].sum() + tempered_NC.mean())

    low, high = map(float, np.log(RANGE))
    return float(np.exp(minimize_scalar(value, bounds=(low, high), method="bounded").x))
