"""Triangular cycles, each half as high."""

from dataclasses import dataclass

import numpy as np

from src.optim.schedule import Position, Steps
from src.optim.schedules.triangular import Triangular


@dataclass(frozen=True)
class Triangular2(Triangular):
    """Triangular cycles, each half as high as the one before (Smith 2015), as torch's CyclicLR."""

    def height(self, at: Position) -> Steps:
        """Return the height within each cycle, halved after each."""
        return super().height(at) * 0.5 ** np.floor(at.epoch / self.period)
