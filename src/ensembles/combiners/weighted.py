"""Weights of at least zero, sum 1, whose mixture predicts best."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.mixture import Weighted
from src.ensembles.mixture_loss import losses, true_class_probability
from src.metrics.measures.nll import LEAST


def weighted(p_MNC: NDArray[Any], y_N: NDArray[Any], weight_M: NDArray[Any]) -> Weighted:
    """Minimize the NLL of the mixture, or its squared error, over the simplex: a convex problem (SLSQP).

    Args:
        p_MNC: predictions of the members, [M, N, C] or [M, N], for rows that none was trained on.
        y_N: targets of these rows.
        weight_M: the members' own weights, sum 1, from which the search begins.
    """
    from scipy.optimize import LinearConstraint, minimize

    classes, t_MN = np.ndim(p_MNC) == 3, true_class_probability(p_MNC, y_N)
    unit = 1.0 if classes else float(losses(t_MN, classes).mean()) or 1.0

    def value(w_M: Any) -> Any:
        mixed_N = w_M @ t_MN
        slope_N = -1 / np.maximum(mixed_N, LEAST) if classes else 2 * mixed_N
        return losses(mixed_N, classes).mean() / unit, t_MN @ slope_N / len(mixed_N) / unit

    solution = minimize(
        value,
        weight_M,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(t_MN),
        constraints=LinearConstraint(np.ones(len(t_MN)), 1, 1),
        options={"maxiter": 300, "ftol": 1e-10},
    ).x
    fitted_M = np.where(solution > 1e-6, solution, 0.0)
    return Weighted(min(fitted_M / fitted_M.sum(), weight_M, key=lambda w: value(w)[0]))
