"""A constant rate."""

from dataclasses import dataclass

import numpy as np

from src.optim.schedule import Position, Steps


@dataclass(frozen=True)
class Constant:
    """The rate as it is."""

    def factor(self, at: Position) -> Steps:
        """Return 1 at every step."""
        return np.ones_like(at.step)
