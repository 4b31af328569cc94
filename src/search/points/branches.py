"""The branch of a conditional space to draw from next: a bandit over its leaves, as a function of the trials alone."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np

from src.config.space import Leaf, Space

GOOD = 0.1  # the share of the trials that count as good


class Branches:
    """The leaves of a space, each with the choices that lead to it."""

    def __init__(self, space: Space) -> None:
        self.leaves: list[tuple[dict[str, str], Leaf]] = list(space.leaves())

    def index(self, params: Mapping[str, Any]) -> int:
        """The place of a point's leaf in `leaves`."""
        return next(
            k for k, (chosen, _) in enumerate(self.leaves) if all(params.get(n) == o for n, o in chosen.items())
        )

    def draw(self, best_first: Sequence[int], rng: np.random.Generator) -> int:
        """Draw a leaf by Thompson sampling of its share of good trials; `best_first`: the leaf of each ranked result."""
        good = list(best_first[: ceil(GOOD * len(best_first))])
        odds = [(1 + good.count(k), 1 + best_first.count(k) - good.count(k)) for k in range(len(self.leaves))]
        return int(np.argmax([rng.beta(a, b) for a, b in odds]))
