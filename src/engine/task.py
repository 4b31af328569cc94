"""The messages between a sweep and its workers: a segment to train, its outcome, and the data that workers use."""

from dataclasses import dataclass, field
from pathlib import Path

from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.system.reason import NONE, Reason

DIVERGED = "diverged"  # kinds of errors that code asks for: the loss is not finite,
MACHINE = "machine"  # a disk is full or a file is lost: no fault of the member


@dataclass(frozen=True)
class Task:
    """A segment to train: a member goes from the checkpoint `source` (None: anew) to epoch `stop`, and leaves `checkpoint`.

    `lineage`: where its weights come from before that, the oldest first. A member without a `source` goes on from the last.
    """

    key: str
    member: Member
    stop: int
    source: Path | None
    checkpoint: Path
    lineage: "tuple[Task, ...]" = ()
    timed: bool = False  # its latency is asked for
    checkpoint_each_epoch: bool = False  # each epoch is saved, since its worker has died before

    @property
    def part(self) -> Path:
        """The file of the last epoch, for a task that is saved each epoch."""
        return self.checkpoint.with_suffix(".part")

    @property
    def timeout_note(self) -> Path:
        """The file in which a worker whose time is over leaves its traceback."""
        return self.checkpoint.with_suffix(".timeout")

    def epochs_done(self) -> int:
        """Return how many epochs the file of a task that is saved each epoch has."""
        state = read_checkpoint(self.part)
        return state.epoch if state else 0


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task: its curves from the first epoch on, or an error of one line and its traceback in `detail`.

    `error`: of kind `DIVERGED`, `MACHINE` or another, each of which has its text; false where there is none.

    `best_epoch_curves`: where early stopping keeps the best epoch's weights, their points after every epoch; else empty.
    `metrics`: every metric of the validation rows by `val/<name>`, of the weights that the member now predicts with.
    `began` and `ended` are times of the worker's monotonic clock, in seconds.
    """

    key: str
    epochs: int
    curves: dict[str, list[float]]
    seconds: float
    error: Reason = NONE
    detail: str = ""
    origin: str = ""  # the type of the error and the line that raised it, where the error is a bug: has a traceback
    note: str = ""  # why its population was not fused
    began: float = 0.0
    ended: float = 0.0
    latency_ms: float | None = None
    best_epoch_curves: dict[str, list[float]] = field(default_factory=dict)
    stopped: str = ""  # why it ended early
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def prediction_curves(self) -> dict[str, list[float]]:
        """The curves of the weights that the member predicts with after every epoch."""
        return self.best_epoch_curves or self.curves


@dataclass(frozen=True)
class WorkerSetup:
    """The prepared data that a worker trains on, its device, and the packages whose classes a config may name.

    `with_validation`: whether the validation rows are among the training rows. `max_rows`: at most so many of either, at
    random. `metrics`: names of those whose curves are wanted beside those of every training. `timeout`: seconds that a
    member may train between two reports; None: for ever.
    """

    data: Path
    device: str
    trusted: tuple[str, ...] = ()
    with_validation: bool = False
    max_rows: int | None = None
    metrics: tuple[str, ...] = ()
    timeout: float | None = None


def read_checkpoint(checkpoint: Path | None) -> Checkpoint | None:
    """Read a checkpoint; None where there is no whole one."""
    try:
        return Checkpoint.load(checkpoint) if checkpoint else None
    except OSError:
        return None
