"""The rise of a learning-rate range test."""

from dataclasses import dataclass

import numpy as np

from src.optim.schedules import Position, Steps


@dataclass(frozen=True)
class Ramp:
    """From the member's rate to `times` as much: exponentially (fastai), or linearly (Smith 2015)."""

    times: float = 1e8
    linear: bool = False

    def factor(self, at: Position) -> Steps:
        share = at.step / max(at.total - 1, 1)
        return np.asarray(1 + (self.times - 1) * share if self.linear else self.times**share, dtype=np.float64)
