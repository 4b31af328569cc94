"""Cosines whose periods double."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from src.optim.schedule import Position, Steps

LEAST = 1e-4  # instead of 0, at which a step would be lost


@dataclass(frozen=True)
class Coslog4:
    """½ (1 - cos(2π log₂(1 + (2ⁿ - 1) t))) at the share t of the run: n = `cycles` from 0 to 1 and back, each twice as long.

    RealMLP's schedule coslog4 (Holzmüller et al. 2024) has four.
    """

    cycles: Annotated[int, Field(ge=1, le=16)] = 4

    def factor(self, at: Position) -> Steps:
        """Return the share of the rate at each step."""
        share = at.step / max(at.total, 1)
        wave: Steps = (1 - np.cos(2 * np.pi * np.log2(1 + (2**self.cycles - 1) * share))) / 2
        return np.maximum(wave, LEAST)

    def ends(self, epochs: int) -> list[float]:
        """Return the epochs at which its cycles end within a run of `epochs`."""
        return [epochs * (2**n - 1) / (2**self.cycles - 1) for n in range(1, self.cycles + 1)]
