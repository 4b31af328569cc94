"""The messages between the driver and workers that share no disk with it: what a job needs, and what it leaves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from src.cluster.data_transfer import PreparedData
from src.engine.task import Outcome, Task, WorkerSetup


@dataclass(frozen=True)
class Parcel:
    """A job: tasks whose paths lead nowhere but into `files`, their bytes by path; and the data that they train on.

    `contents`: the files of the data by name, where the worker could not get them otherwise. `modules`: digests of those
    that a `_target_` of the tasks names.
    """

    tasks: Sequence[Task]
    setup: WorkerSetup
    files: Mapping[Path, bytes]
    data: PreparedData
    store: str | None
    modules: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, bytes] | None = None


@dataclass(frozen=True)
class Delivery:
    """The answer of a worker: outcomes, and the bytes of files by the paths of the parcel.

    `clock` is the worker's monotonic time of the end. `lacks_data`: the job needs the data with it.
    `refusal`: the reason why this worker cannot do it.
    """

    outcomes: Sequence[Outcome] = ()
    files: Mapping[Path, bytes] = field(default_factory=dict)
    clock: float = 0.0
    lacks_data: bool = False
    refusal: str = ""


def relocated(task: Task, move: Callable[[Path], Path]) -> Task:
    """Change every path of a task and of those that it begins from.

    Args:
        task: with the paths of one machine.
        move: returns the path of another.
    """
    return replace(
        task,
        source=None if task.source is None else move(task.source),
        checkpoint=move(task.checkpoint),
        lineage=tuple(relocated(ancestor, move) for ancestor in task.lineage),
    )


def files_to_send(tasks: Sequence[Task]) -> dict[Path, bytes]:
    """Read the checkpoints that tasks begin from, and those that stand already."""
    wanted = [path for task in tasks for path in _begins_from(task)]
    there = {path: _bytes(path) for path in wanted}
    return {path: content for path, content in there.items() if content is not None}


def files_to_return(tasks: Sequence[Task], sent: Mapping[Path, bytes]) -> dict[Path, bytes]:
    """Read the checkpoints that a worker has made, by its own paths, without those that were `sent` to it as they are."""
    there = {task.checkpoint: _bytes(task.checkpoint) for task in tasks}
    return {path: content for path, content in there.items() if content is not None and content != sent.get(path)}


def _begins_from(task: Task) -> Iterator[Path]:
    yield task.checkpoint
    yield task.part
    if task.source is not None:
        yield task.source
    yield from [ancestor.checkpoint for ancestor in task.lineage if ancestor.checkpoint.exists()][-1:]


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
