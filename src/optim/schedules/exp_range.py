"""Triangular cycles that shrink exponentially."""

from dataclasses import dataclass

from src.optim.optimizer import Share
from src.optim.schedule import Position, Steps
from src.optim.schedules.triangular import Triangular


@dataclass(frozen=True)
class ExpRange(Triangular):
    """Triangular cycles, their height times `gamma` an epoch (Smith 2015), as torch's CyclicLR (there: a step)."""

    gamma: Share = 0.9

    def height(self, at: Position) -> Steps:
        """Return the height within each cycle, times `gamma` an epoch."""
        return super().height(at) * self.gamma**at.epoch
