"""Half a cosine."""

from dataclasses import dataclass

import numpy as np

from src.optim.optimizer import Share
from src.optim.schedule import Position, Steps, anneal


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `final`, after a linear warm-up over the share `warmup` of the run (SGDR's first cycle)."""

    warmup: Share = 0.0
    final: Share = 0.0

    def factor(self, at: Position) -> Steps:
        """Return the share of the rate at each step: rising during the warm-up, then half a cosine."""
        rise = self.warmup * at.total
        fall = np.clip((at.step - rise) / max(at.total - rise, 1), 0, 1)
        return np.where(at.step < rise, (at.step + 1) / max(rise + 1, 1), anneal(1, self.final, fall))
