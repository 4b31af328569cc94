"""The protocol of a method that makes members: what it receives, what it may ask to be trained, and what it returns."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from src.ensembles.final_member import FinalMember
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.rows import Rows


@dataclass(frozen=True)
class TrainingContext:
    """The data that members train on, as `rows` and as targets [N] in their unit, and the folder of the sweep."""

    rows: Rows
    y_train: NDArray[Any]
    y_val: NDArray[Any]
    sweep: Path


@dataclass(frozen=True)
class Segment:
    """A part of a member's training: from the checkpoint `start` (None: from its initial weights) to epoch `stop`."""

    member: Member
    stop: int
    start: Checkpoint | None = None


Generation = Sequence[Member | Segment]
Generations = Generator[Generation, list[FinalMember], list[FinalMember]]
