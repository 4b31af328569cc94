"""What a way to make members is given, may ask for, gets back and returns."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.population.checkpoint import Checkpoint
from src.population.losses import score
from src.population.member import Member
from src.population.rows import Rows
from src.population.stack import EVALUATION_ROWS, build_model

Config = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingContext:
    """The data, the targets [N] as they are (classes, or values in their unit), and the folder that the sweep left."""

    rows: Rows
    y_train: NDArray[Any]
    y_val: NDArray[Any]
    sweep: Path


@dataclass(frozen=True)
class Segment:
    """A member until it has `stop` epochs, from `start` on (None: anew)."""

    member: Member
    stop: int
    start: Checkpoint | None = None


@dataclass(frozen=True)
class Trained:
    """A member that has been trained, and the data."""

    key: str
    member: Member
    state: Checkpoint
    rows: Rows

    def predict(self, x: Tensor) -> NDArray[np.float32]:
        """Probabilities [N, C], or values [N] in the target's unit, of rows `x`."""
        module = build_model(self.member, self.rows.meta, None)
        module.load_state_dict(self.state.model_weights)
        module.eval()
        with torch.no_grad():
            output_NC = torch.cat([module(part) for part in x.chunk(-(-len(x) // EVALUATION_ROWS))])
        y_N = torch.zeros(len(x), dtype=self.rows.y_train.dtype)
        return np.asarray(score(output_NC[None], y_N[None], self.rows.meta)[1][0].numpy())

    def held(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same for training rows that it has not seen, among all of them [N, ...]: NaN for the others."""
        found = self.predict(self.rows.x_train[torch.from_numpy(places)])
        among_all = np.full((len(self.rows.x_train), *found.shape[1:]), np.nan, np.float32)
        among_all[places] = found
        return among_all


@dataclass(frozen=True)
class FinalMember:
    """A final member: its own say among the others, and what it predicts for training rows that it has not seen."""

    trained: Trained
    weight: float = 1.0
    held: NDArray[np.float32] | None = None


Generation = Sequence[Member | Segment]
Generations = Generator[Generation, list[Trained], list[FinalMember]]


def held_mean(held: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What those members that have not seen a training row predict for it, on average; NaN where all have."""
    held_MN = np.stack(held)
    count_N = np.isfinite(held_MN).sum(0)
    total = np.nansum(held_MN, 0, dtype=np.float64)
    return np.where(count_N > 0, total / np.maximum(count_N, 1), np.nan).astype(np.float32)
