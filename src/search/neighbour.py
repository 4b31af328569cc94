"""Steps from a point to the next."""

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def neighbour(distribution: BaseDistribution, value: Any, factor: float, up: bool) -> Any:
    """A value next to this one, within bounds: `factor` times as much or as little, or where there are steps, a step off."""
    step = 1 if up else -1
    if isinstance(distribution, CategoricalDistribution):
        place = int(distribution.to_internal_repr(value)) + step
        return distribution.choices[min(max(place, 0), len(distribution.choices) - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution) and distribution.log:
        further = round(value * factor**step)
        changed = further if further != value else value + step
    elif distribution.step:
        changed = low + (round((value - low) / distribution.step) + step) * distribution.step
    else:
        changed = value * factor**step
    return min(max(changed, low), high)
