"""A stair."""

from dataclasses import dataclass

import numpy as np

from src.optim.optimizer import Above0, Share
from src.optim.schedule import ROUNDING, Position, Steps


@dataclass(frozen=True)
class Step:
    """The rate times `gamma` after every `period` epochs, as torch's StepLR."""

    period: Above0
    gamma: Share

    def factor(self, at: Position) -> Steps:
        """Return `gamma` to the power of the periods that have passed."""
        return np.asarray(self.gamma ** np.floor(at.epoch / self.period + ROUNDING), dtype=np.float64)
