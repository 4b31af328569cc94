"""Priors that a person gives to dimensions, mixed into the points of any source, as far as the results bear them out.

After πBO (Hvarfner et al. 2022), whose prior fades with the trials, and PriorBand (Mallik et al. 2023), which weighs it
by how likely it makes the best points so far.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from src.config.space import Dimension, Space
from src.search.points import unit_interval

FADES = 10  # trials after which the prior has half of its weight
BEST = 5  # points that are looked at


class Priors:
    """The priors of a space, and the points that follow them."""

    def __init__(self, space: Space) -> None:
        self._dimensions = {n: d for _, leaf in space.leaves() for n, d in leaf.dimensions.items() if d.prior}
        self.names = list(self._dimensions)

    def fixed(self, number: int, seed: int, best: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The values that the priors decide for a trial: their centers for the first, draws for some, none for the others.

        Args:
            number: of the trial, among those that begin anew.
            seed: of the study.
            best: points with results, the best first; of fewer than `BEST` the priors are trusted by half.
        """
        if not self.names:
            return {}
        if number == 0:
            return {name: d.prior.center for name, d in self._dimensions.items() if d.prior}
        rng = np.random.default_rng(np.random.SeedSequence([seed, number, 1]))
        if rng.random() >= self._trust(best[:BEST]) * FADES / (FADES + number):
            return {}
        return {name: _draw(dimension, rng) for name, dimension in self._dimensions.items()}

    def _trust(self, best: Sequence[Mapping[str, Any]]) -> float:
        """The mean probability, in [0, 1], that the best points come from the prior rather than from an even draw."""
        if len(best) < BEST:
            return 0.5
        return float(np.mean([1 / (1 + math.exp(min(700.0, -self._log_likelihood(params)))) for params in best]))

    def _log_likelihood(self, params: Mapping[str, Any]) -> float:
        return sum(_log_density(d, params[name]) for name, d in self._dimensions.items() if name in params)


def _draw(dimension: Dimension, rng: np.random.Generator) -> Any:
    prior, d = dimension.prior, dimension.distribution
    assert prior
    if isinstance(d, CategoricalDistribution):
        return prior.center if rng.random() >= prior.spread else d.choices[int(rng.integers(len(d.choices)))]
    position = unit_interval.place(d, prior.center)
    while not 0 <= (u := position + prior.spread * rng.normal()) <= 1:
        pass
    return unit_interval.value(d, u)


def _log_density(dimension: Dimension, value: Any) -> float:
    """Log density of a value under the prior, where the uniform distribution has 0."""
    prior, d = dimension.prior, dimension.distribution
    assert prior
    if isinstance(d, CategoricalDistribution):
        return math.log(prior.spread + (1 - prior.spread) * len(d.choices) * (value == prior.center))
    center, here = unit_interval.place(d, prior.center), unit_interval.place(d, value)
    inside = (math.erf((1 - center) / prior.spread / math.sqrt(2)) + math.erf(center / prior.spread / math.sqrt(2))) / 2
    return -0.5 * ((here - center) / prior.spread) ** 2 - math.log(prior.spread * math.sqrt(2 * math.pi) * inside)
