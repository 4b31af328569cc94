"""Soft vote: the mean of the members' probabilities, or of their values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def average(val_MNC: NDArray[np.float32], y_N: NDArray[Any]) -> NDArray[np.float64]:
    """Equal weights."""
    return np.full(len(val_MNC), 1 / len(val_MNC))
