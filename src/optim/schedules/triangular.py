"""Triangular cycles."""

from dataclasses import dataclass

import numpy as np

from src.optim.optimizer import Above0, Share
from src.optim.schedule import ROUNDING, Position, Steps


@dataclass(frozen=True)
class Triangular:
    """Cycles of `period` epochs, linearly from `low` up to the rate and down again (Smith 2015), as torch's CyclicLR.

    At the peaks the momentum is `momentum_low` times its own; 1 leaves it as it is.
    """

    period: Above0
    low: Share = 0.1
    momentum_low: Share = 1.0

    def factor(self, at: Position) -> Steps:
        """Return the share of the rate at each step: from `low` to 1 and back."""
        return self.low + (1 - self.low) * self.height(at)

    def momentum_factor(self, at: Position) -> Steps:
        """Return the share of the momentum at each step: from 1 to `momentum_low` and back."""
        return 1 - (1 - self.momentum_low) * self.height(at)

    def height(self, at: Position) -> Steps:
        """Return the height within each cycle, from 0 to 1 and back."""
        return 1 - np.abs(2 * (at.epoch / self.period % 1) - 1)

    def ends(self, epochs: int) -> list[float]:
        """Return the epochs at which whole cycles end within a run of `epochs`."""
        return [self.period * (cycle + 1) for cycle in range(int(epochs / self.period + ROUNDING))]
