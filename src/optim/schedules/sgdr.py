"""Warm restarts."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from src.optim.optimizer import Above0, Share
from src.optim.schedule import ROUNDING, Position, Steps, anneal


@dataclass(frozen=True)
class SGDR:
    """Half a cosine from 1 to `final`, again and again (Loshchilov & Hutter 2017), as torch's CosineAnnealingWarmRestarts.

    The first takes `period` epochs, each other `growth` times as many as the one before.
    """

    period: Above0
    growth: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    final: Share = 0.0

    def factor(self, at: Position) -> Steps:
        """Return the share of the rate at each step: half a cosine within each period."""
        periods = at.epoch / self.period + ROUNDING
        if self.growth == 1:
            share = periods % 1
        else:
            restarts = np.floor(np.log1p(periods * (self.growth - 1)) / np.log(self.growth))
            begun = (self.growth**restarts - 1) / (self.growth - 1)
            share = (periods - begun) / self.growth**restarts
        return anneal(1, self.final, np.clip(share, 0, 1))

    def ends(self, epochs: int) -> list[float]:
        """Return the epochs at which whole periods end within a run of `epochs`."""
        ends, length = [self.period], self.period
        while ends[-1] <= epochs + ROUNDING:
            length *= self.growth
            ends.append(ends[-1] + length)
        return ends[:-1]
