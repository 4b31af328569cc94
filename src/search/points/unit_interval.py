"""A dimension as the unit interval: its values by inverse CDF, even on its scale, and back."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def value(distribution: BaseDistribution, u: float) -> Any:
    """The value at `u` in [0, 1]: equal shares for categories and steps, even in the logarithm on a log scale."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(u * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    d, (low, high) = distribution, _ends(distribution)
    found = math.exp(low + u * (high - low)) if d.log else low + u * (high - low)
    if d.step:
        found = d.low + d.step * round((found - d.low) / d.step)
    found = min(max(found, d.low), d.high)
    return int(found) if isinstance(d, IntDistribution) else float(found)


def place(distribution: BaseDistribution, value: float) -> float:
    """Where a number lies in [0, 1]; one of several steps in the middle of its share."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    if low == high:
        return 0.5
    return ((math.log(value) if distribution.log else value) - low) / (high - low)


def snapped(distribution: BaseDistribution, u_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """The places in [0, 1] of the values at `u_N`."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    d, (low, high) = distribution, _ends(distribution)
    if low == high:
        return np.full_like(u_N, 0.5)
    found_N = low + u_N * (high - low)
    found_N = np.exp(found_N) if d.log else found_N
    if d.step:
        found_N = d.low + d.step * np.rint((found_N - d.low) / d.step)
    found_N = np.clip(found_N, d.low, d.high)
    return np.asarray(((np.log(found_N) if d.log else found_N) - low) / (high - low))


def _ends(d: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """The ends of the scale, where the first and the last step have their whole share."""
    half = (d.step or 0) / 2
    low, high = d.low - half, d.high + half
    return (math.log(low), math.log(high)) if d.log else (low, high)
