"""NEEDS A DOCSTRING."""

from dataclasses import dataclass, field
from pathlib import Path

from src.population.checkpoint import Checkpoint
from src.population.member import Member


@dataclass(frozen=True)
class Task:
    """A member trains from the checkpoint `source` (None: anew) until it has `stop` epochs, which makes `checkpoint`.

    `lineage`: where its weights come from before that, the oldest first. A member without a `source` goes on from the last.
    """

    key: str
    member: Member
    stop: int
    source: Path | None
    checkpoint: Path
    lineage: "tuple[Task, ...]" = ()
    timed: bool = False  # whether its latency is asked for
    checkpoint_each_epoch: bool = False  # whether each epoch is kept, since its worker has died before

    @property
    def part(self) -> Path:
        """Where a careful task keeps what it has so far."""
        return self.checkpoint.with_suffix(".part")

    def reached(self) -> int:
        """The epochs that are kept of it."""
        state = read_checkpoint(self.part)
        return state.epoch if state else 0


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its curves from the first epoch on, or an error of one line and its traceback.

    `kept`: where early stopping keeps the best epoch's weights, the points of those after every epoch; else empty.
    """

    key: str
    epochs: int
    curves: dict[str, list[float]]
    seconds: float
    error: str = ""
    detail: str = ""
    note: str = ""  # why its population was not fused
    began: float = 0.0
    ended: float = 0.0
    latency_ms: float | None = None
    kept: dict[str, list[float]] = field(default_factory=dict)
    stopped: str = ""  # why it ended early

    @property
    def reached(self) -> dict[str, list[float]]:
        """After every epoch the points of the weights that it then predicts with."""
        return self.kept or self.curves


@dataclass(frozen=True)
class WorkerSetup:
    """Where the worker works: the prepared data, the device, and the packages whose classes a config may name.

    `whole`: whether the validation rows are among the training rows. `most`: at most so many of either, drawn at random.
    """

    data: Path
    device: str
    trusted: tuple[str, ...] = ()
    whole: bool = False
    most: int | None = None


def read_checkpoint(checkpoint: Path | None) -> Checkpoint | None:
    """The state in a checkpoint that is whole."""
    try:
        return Checkpoint.load(checkpoint) if checkpoint else None
    except OSError:
        return None
