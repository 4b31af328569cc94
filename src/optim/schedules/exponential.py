"""An exponential fall."""

from dataclasses import dataclass

import numpy as np

from src.optim.optimizer import Share
from src.optim.schedule import Position, Steps


@dataclass(frozen=True)
class Exponential:
    """The rate times `gamma` an epoch, smoothly: torch's ExponentialLR, at every step."""

    gamma: Share

    def factor(self, at: Position) -> Steps:
        """Return `gamma` to the power of the epochs so far, whole and parts of them."""
        return np.asarray(self.gamma**at.epoch, dtype=np.float64)
