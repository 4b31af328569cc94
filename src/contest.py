"""Every group of members with every combiner, judged by cross-validation inside the validation rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from src.combiners.folds import Fit, cross_validated
from src.combiners.joint import Joint
from src.pool import Trained, candidates, says


@dataclass(frozen=True)
class Joined:
    """Members of a pool and what joins them, fitted on all validation rows; `val`, by fits on the other parts of them."""

    places: list[int]
    joint: Joint
    val: NDArray[np.float64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of its members [M]."""
        return np.asarray(self.joint.shares.numpy())

    @property
    def used(self) -> list[int]:
        """The places in the pool of those that have a share: the others need not be asked."""
        return [self.places[k] for k in np.flatnonzero(self.shares)]

    def pruned(self) -> Joint:
        """What joins those."""
        return self.joint.of(np.flatnonzero(self.shares))


def contest(pool: Sequence[Trained], fits: Iterable[tuple[str, Fit]], y_N: NDArray[Any]) -> dict[str, Joined]:
    """By `<model>:<members>+<combiner>`."""
    found, fits = {}, list(fits)
    with threadpool_limits(limits=1):  # more threads make small fits ten times slower, and sum in another order
        for group, places in candidates(pool).items():
            members = [pool[k] for k in places]
            p_MNC, weight_M = np.stack([member.val for member in members]), says(members)
            for name, fit in fits:
                val = cross_validated(fit, p_MNC, y_N, weight_M)
                found[f"{group}+{name}"] = Joined(places, fit(p_MNC, y_N, weight_M), val)
    return found
