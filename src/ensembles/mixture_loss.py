"""What the weights of members are fitted to: the loss of a mixture, which is convex in them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.metrics import negative_log_likelihood


def true_class_probability(p_MNC: NDArray[Any], y_N: NDArray[Any]) -> NDArray[np.float64]:
    """All that the loss of a mixture depends on, [M, N]: what each member gives the true class, or its error.

    A weighted sum of rows is the same of the mixture.
    """
    p_MNC = np.asarray(p_MNC, np.float64)
    return p_MNC[:, np.arange(len(y_N)), y_N] if p_MNC.ndim == 3 else p_MNC - y_N


def losses(of_truth_N: NDArray[np.float64], classes: bool) -> NDArray[np.float64]:
    """The loss of every row: −log p of the true class, or the squared error. Any shape."""
    return negative_log_likelihood(of_truth_N) if classes else of_truth_N**2
