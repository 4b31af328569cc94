"""One cycle."""

from dataclasses import dataclass

import numpy as np

from src.optim.optimizer import Share
from src.optim.schedule import Position, Steps, anneal


@dataclass(frozen=True)
class OneCycle:
    """Half a cosine up from `start` to the rate, and one down to `final`; the momentum falls and rises (Smith 2018).

    As torch's OneCycleLR. `warmup` is the share of the run in which the rate rises. At its peak the momentum is
    `momentum_low` times its own; 1 leaves it as it is.
    """

    warmup: Share = 0.3
    start: Share = 0.04
    final: Share = 4e-6
    momentum_low: Share = 0.9

    def factor(self, at: Position) -> Steps:
        """Return the share of the rate at each step: up from `start` to 1, and down to `final`."""
        return self._cycle(at, self.start, 1, self.final)

    def momentum_factor(self, at: Position) -> Steps:
        """Return the share of the momentum at each step: down from 1 to `momentum_low`, and up again."""
        return self._cycle(at, 1, self.momentum_low, 1)

    def _cycle(self, at: Position, start: float, middle: float, end: float) -> Steps:
        peak, last = self.warmup * at.total - 1, at.total - 1
        rise = np.clip(at.step / max(peak, 1e-9), 0, 1)
        fall = np.clip((at.step - peak) / max(last - peak, 1e-9), 0, 1)
        return np.where(at.step <= peak, anneal(start, middle, rise), anneal(middle, end, fall))
