"""Constant, then half a cosine."""

from dataclasses import dataclass

import numpy as np

from src.optim.optimizer import Share
from src.optim.schedule import Position, Steps, anneal


@dataclass(frozen=True)
class FlatCos:
    """The whole rate for the share `flat` of the run, then half a cosine down to `final` (as in fastai and RealMLP)."""

    flat: Share = 0.5
    final: Share = 0.0

    def factor(self, at: Position) -> Steps:
        """Return the share of the rate at each step."""
        begin = self.flat * at.total
        return anneal(1, self.final, np.clip((at.step - begin) / max(at.total - begin, 1), 0, 1))
