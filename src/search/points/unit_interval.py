"""The unit interval of a dimension: from a place in [0, 1] to a value, by inverse CDF on its scale, and back."""

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
    number = math.exp(low + u * (high - low)) if d.log else low + u * (high - low)
    if d.step:
        number = d.low + d.step * round((number - d.low) / d.step)
    number = min(max(number, d.low), d.high)
    return int(number) if isinstance(d, IntDistribution) else float(number)


def place(distribution: BaseDistribution, value: float) -> float:
    """The place of a number in [0, 1]; one of several steps lies in the middle of its share."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    if low == high:
        return 0.5
    return ((math.log(value) if distribution.log else value) - low) / (high - low)


def snapped(distribution: BaseDistribution, u_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """The places in [0, 1] of the values nearest to the places `u_N`, shape [N]."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    d, (low, high) = distribution, _ends(distribution)
    if low == high:
        return np.full_like(u_N, 0.5)
    number_N = low + u_N * (high - low)
    number_N = np.exp(number_N) if d.log else number_N
    if d.step:
        number_N = d.low + d.step * np.rint((number_N - d.low) / d.step)
    number_N = np.clip(number_N, d.low, d.high)
    return np.asarray(((np.log(number_N) if d.log else number_N) - low) / (high - low))


def _ends(d: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """The ends of the scale, where the first and the last step have their whole share."""
    half = (d.step or 0) / 2
    low, high = d.low - half, d.high + half
    return (math.log(low), math.log(high)) if d.log else (low, high)
