"""The loss of a mixture, to which the weights of its members are fitted: it is convex in them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.metrics.measures.nll import negative_log_likelihood


def true_class_probability(p_MNC: NDArray[Any], y_N: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the probability that each member gives the true class, [M, N], or the error of its value.

    The loss of a mixture depends on nothing else: a weighted sum over members is the mixture's own.
    """
    p_MNC = np.asarray(p_MNC, np.float64)
    return p_MNC[:, np.arange(len(y_N)), y_N] if p_MNC.ndim == 3 else p_MNC - y_N


def losses(t_N: NDArray[np.float64], classes: bool) -> NDArray[np.float64]:
    """Compute the loss of every row: −log p of the true class, or the squared error.

    `t_N` is of `true_class_probability`, in any shape; `classes` is true of probabilities.
    """
    return negative_log_likelihood(t_N) if classes else t_N**2
