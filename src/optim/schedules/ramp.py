"""The rise of a learning-rate range test."""

from dataclasses import dataclass

import numpy as np

from src.optim.schedules import Position, Steps


@dataclass(frozen=True)
class Ramp:
    """From the member's rate to `times` as much, exponentially: the learning-rate range test (Smith 2015, fastai)."""

    times: float = 1e8

    def factor(self, at: Position) -> Steps:
        return np.asarray(self.times ** (at.step / max(at.total - 1, 1)), dtype=np.float64)
