"""A random policy over the points of a space, which learns from rewards (Williams 1992)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Space
from src.search.points import unit_interval
from src.search.protocol import Point

BINS = 8  # of a number's scale


class Policy:
    """Independent probabilities for each value of each dimension and choice, softmax of logits that begin at 0.

    A number is one of `BINS` equal parts of its scale, and even within it.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.logits: dict[str, NDArray[np.float64]] = {}

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a point."""

        def value(name: str, distribution: BaseDistribution) -> Any:
            chances = self._chances(name, distribution)
            part = int(rng.choice(len(chances), p=chances))
            return unit_interval.value(distribution, (part + rng.random()) / len(chances))

        return self.space.walk(value)

    def learn(self, point: Point, advantage: float, rate: float, entropy: float) -> None:
        """Climb the gradient of `advantage` · log p(point) + `entropy` · the entropy of each dimension that the point has.

        Args:
            point: what was tried.
            advantage: its reward above the baseline, in standard deviations.
            rate: of the step.
            entropy: the weight of the entropy, which keeps the policy from settling too early.
        """
        for name, distribution in self.space.distributions(point).items():
            chances = self._chances(name, distribution)
            part = _part(distribution, point[name], len(chances))
            likelihood = -chances
            likelihood[part] += 1.0
            surprise = -np.log(np.maximum(chances, 1e-12))
            spread = chances * (surprise - float(chances @ surprise))
            self.logits[name] = self.logits[name] + rate * (advantage * likelihood + entropy * spread)

    def _chances(self, name: str, distribution: BaseDistribution) -> NDArray[np.float64]:
        logits = self.logits.setdefault(name, np.zeros(_parts(distribution)))
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum())


def _parts(distribution: BaseDistribution) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return 1 if distribution.single() else BINS


def _part(distribution: BaseDistribution, value: Any, parts: int) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(value))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return min(max(math.floor(unit_interval.place(distribution, value) * parts), 0), parts - 1)
