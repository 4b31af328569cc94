"""A fall whenever the validation loss has stopped falling."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from src.optim.optimizer import Below1, Share
from src.optim.schedule import Position, Steps

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Plateau:
    """Times `gamma` after more than `patience` epochs without a lower validation loss, as torch's ReduceLROnPlateau.

    Lower is by the share `threshold`. In the `cooldown` epochs after a fall none is counted. Never below `final`.
    What it knows is the curve alone, so that a checkpoint needs nothing more.
    """

    watches: ClassVar[tuple[str, ...]] = ("val/loss",)

    gamma: Below1 = 0.1
    patience: Count = 10
    threshold: Below1 = 1e-4
    cooldown: Count = 0
    final: Share = 0.0

    def factor(self, at: Position) -> Steps:
        """Return the share of the rate that the falls so far leave, the same at every step of an epoch."""
        factor, best, bad, resting = 1.0, np.inf, 0, 0
        for loss in at.curves.get("val/loss", ()):
            if loss < best * (1 - self.threshold):
                best, bad = loss, 0
            else:
                bad += 1
            if resting:
                resting, bad = resting - 1, 0
            if bad > self.patience:
                factor, bad, resting = max(factor * self.gamma, self.final), 0, self.cooldown
        return np.full_like(at.step, factor)
