"""What runs in a worker: segments of members in, checkpoints and curves out. Any worker can run any segment again."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.components import make
from src.data import load
from src.errors import UserError
from src.population.batches import grows
from src.population.growth import inherited
from src.population.latency import latency_ms
from src.population.member import Member, State, one_thread
from src.population.population import Population, Rows
from src.population.stopping import kept_epochs, reason, stopped, stops


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
    careful: bool = False  # whether each epoch is kept, since its worker has died before

    @property
    def part(self) -> Path:
        """Where a careful task keeps what it has so far."""
        return self.checkpoint.with_suffix(".part")

    def reached(self) -> int:
        """The epochs that are kept of it."""
        state = _whole(self.part)
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
class Bench:
    """Where the worker works: the prepared data, the device, and the packages whose classes a config may name.

    `whole`: whether the validation rows are among the training rows. `most`: at most so many of either, drawn at random.
    """

    data: Path
    device: str
    trusted: tuple[str, ...] = ()
    whole: bool = False
    most: int | None = None


def start() -> None:
    """Make this process a worker: one thread, no signals of the terminal, and gone when the sweep's process is."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    one_thread()
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def train(tasks: Sequence[Task], bench: Bench) -> list[Outcome]:
    """Train tasks of one signature, as one population where that keeps every bit, else one after the other."""
    began = time.monotonic()
    waiting = []
    outcomes = []
    for task in tasks:
        if done := _finished(task):
            outcomes.append(done)
        else:
            waiting.append(task)
    note = fusable(waiting[0].member, bench) if len(waiting) > 1 else ""
    for group in [[task] for task in waiting] if note or not waiting else [waiting]:
        outcomes += _attempt(group, bench)
    models = {task.key: task.member.config["model"] for task in tasks if task.timed}
    for k, outcome in enumerate(outcomes):
        if outcome.key in models and not outcome.error:
            outcomes[k] = replace(outcome, latency_ms=latency_ms(models[outcome.key], rows(bench)))
    ended = time.monotonic()
    return [replace(o, began=began, ended=ended, note=note) for o in outcomes]


def _finished(task: Task) -> Outcome | None:
    """The outcome of a task whose checkpoint stands already: a crash came between it and the study."""
    state = _whole(task.checkpoint)
    return _outcome(task, state.curves, 0.0) if state else None


def _outcome(task: Task, curves: dict[str, list[float]], seconds: float, error: str = "") -> Outcome:
    """Of a task whose member has come so far."""
    config = task.member.config
    epochs = kept_epochs(config, curves)
    kept = {name: [curve[epoch - 1] for epoch in epochs] for name, curve in curves.items()} if stops(config) else {}
    return Outcome(task.key, len(epochs), curves, seconds, error, kept=kept, stopped=reason(config, curves))


def _attempt(group: list[Task], bench: Bench) -> list[Outcome]:
    """Train a group; when it fails as a whole, each alone, so that only the culprit fails."""
    try:
        return _train(group, bench)
    except Exception as error:
        if len(group) > 1:
            return [outcome for task in group for outcome in _attempt([task], bench)]
        oom = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        text = _too_large(group[0].member.config) if oom else _first_line(error)
        detail = "" if oom or isinstance(error, UserError | ValueError) else traceback.format_exc()
        return [Outcome(group[0].key, 0, {}, 0.0, text, detail)]


def _train(group: list[Task], bench: Bench) -> list[Outcome]:
    began = time.monotonic()
    states, tasks, outcomes = [], [], []
    for task in group:
        state = _source(task, bench)
        if state and stopped(
            task.member.config, state.curves
        ):  # in an earlier segment, which its folds did not all end
            state.save(task.checkpoint)
            outcomes.append(_outcome(task, state.curves, 0.0))
        else:
            states.append(state)
            tasks.append(task)
    if not tasks:
        return outcomes
    begins = [state.epoch if state else 0 for state in states]
    if grows(tasks[0].member.config) and len(set(begins)) > 1:  # a step takes as many rows of each
        alike = [[task for task, own in zip(tasks, begins, strict=True) if own == epoch] for epoch in set(begins)]
        return outcomes + [outcome for part in alike for outcome in _train(part, bench)]
    population = _population([t.member for t in tasks], rows(bench), bench, states, len(tasks) > 1)
    while tasks:
        points = population.epoch()
        going = []
        for k, (task, point) in enumerate(zip(tasks, points, strict=True)):
            diverged = not all(abs(point[name]) < float("inf") for name in ("train/loss", "val/loss"))
            over = population.epochs[k] >= task.stop or stopped(task.member.config, population.curves[k])
            if not diverged and not over:
                going.append(k)
                if task.careful:
                    population.save(k).save(task.part)
                continue
            if not diverged:
                population.save(k).save(task.checkpoint)
            task.part.unlink(missing_ok=True)
            seconds = (time.monotonic() - began) / len(group)
            outcomes.append(_outcome(task, population.curves[k], seconds, "diverged" if diverged else ""))
        if len(going) < len(tasks):
            tasks = [tasks[k] for k in going]
            if tasks:
                population.keep(going)
    return outcomes


def _source(task: Task, bench: Bench) -> State | None:
    """Where the member goes on. What is torn or gone is trained again from what it came from: the bits are the same."""
    if state := _whole(task.part) or _whole(task.source):
        return state
    line = [*task.lineage, task]
    begun = len(task.lineage)
    while begun and not (state := _whole(line[begun - 1].checkpoint)):
        begun -= 1
    for place in range(begun, len(line)):
        if state:
            state = inherited(state, line[place - 1].member, line[place].member, rows(bench).meta)
        if place < len(task.lineage):
            state = _retrained(line[place], state, bench)
    return state


def _retrained(task: Task, state: State | None, bench: Bench) -> State:
    population = _population([task.member], rows(bench), bench, [state], fused=False)
    while population.epochs[0] < task.stop and not stopped(task.member.config, population.curves[0]):
        population.epoch()
    return population.save(0)


def _whole(checkpoint: Path | None) -> State | None:
    """The state in a checkpoint that is whole."""
    try:
        return State.load(checkpoint) if checkpoint else None
    except OSError:
        return None


def _population(
    members: Sequence[Member], data: Rows, bench: Bench, states: Sequence[State | None] | None, fused: bool
) -> Population:
    return Population(
        members,
        data,
        lambda config: make("optimizer", config["optimizer"], bench.trusted),
        lambda config: make("schedule", config["schedule"], bench.trusted),
        states,
        fused,
    )


@lru_cache(maxsize=2)
def rows(bench: Bench) -> Rows:
    """The prepared data as tensors on the device, read once a worker (on the CPU shared by all, in the page cache)."""
    data = load(bench.data)
    x_train, y_train, *val = (data.x_train, data.y_train, data.x_val, data.y_val)
    if bench.whole:
        x_train, y_train = np.concatenate([x_train, val[0]]), np.concatenate([y_train, val[1]])
    arrays = [*_drawn(bench.most, x_train, y_train), *_drawn(bench.most, *val)]
    return Rows(data.meta, *(torch.from_numpy(a).to(bench.device) for a in arrays))


def _drawn(most: int | None, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """The same rows of all arrays, in their order."""
    if most is None or len(arrays[0]) <= most:
        return list(arrays)
    places = np.sort(np.random.default_rng(0).permutation(len(arrays[0]))[:most])
    return [array[places] for array in arrays]


_fusable: dict[tuple[str, Bench], str] = {}


def fusable(member: Member, bench: Bench) -> str:
    """Why members like this one cannot train as one population, or "".

    It is tried: a few batches fused and alone must leave the same bits. (On a GPU it is enough that the fused form runs.)
    """
    key = (member.signature(), bench)
    if key not in _fusable:
        _fusable[key] = _refusal(member, bench)
    return _fusable[key]


def _refusal(member: Member, bench: Bench) -> str:
    probes, data = _probes(member), _few(rows(bench), member)
    if member.held is not None:
        probes = [replace(probe, held=np.arange(len(data.x_train))) for probe in probes]
    try:
        alone = _population(probes, data, bench, None, fused=False)
        alone.epoch()
    except Exception as error:
        return f"a trial of them fails: {_first_line(error)}"
    try:
        together = _population(probes, data, bench, None, fused=True)
        together.epoch()
    except Exception as error:
        return f"torch.func.vmap refuses it: {_first_line(error)}"
    kept = [(alone.p_KP, together.p_KP)]
    kept += [(alone.save(k).predictions, together.save(k).predictions) for k in range(len(probes))]
    kept += [(tensor, together.fixed[name]) for name, tensor in alone.fixed.items()]
    kept += [(tensor, together.state[name]) for name, tensor in alone.state.items()]
    same = all(torch.equal(a, b) for a, b in kept) and alone.curves == together.curves
    return "" if same or bench.device != "cpu" else "its kernels give other bits in a stack than alone"


def _probes(member: Member) -> list[Member]:
    """Members of the same signature that differ where members may: a model that reads its own `dropout` cannot be fused."""
    model, probes = member.config["model"], []
    for k in range(2):
        dropout = {"dropout": (k + 1) / 4} if isinstance(model.get("dropout"), float) else {}
        probes.append(
            replace(member, config={**member.config, "model": model | dropout}, seed=member.seed + k, rows=None)
        )
    return probes


def _few(data: Rows, member: Member) -> Rows:
    """Two full batches and what would be left over in the end, so that every shape occurs."""
    n = len(data.x_train) if member.rows is None else len(member.rows)
    batch = member.config["batch_size"]
    few = min(n, 2 * batch + n % batch)
    return replace(
        data, x_train=data.x_train[:few], y_train=data.y_train[:few], x_val=data.x_val[:few], y_val=data.y_val[:few]
    )


def _too_large(config: Mapping[str, Any]) -> str:
    pieces = config.get("accumulate", 1)
    return (
        f"out of memory: batch_size={config['batch_size']} may be too large; accumulate={2 * pieces} takes less at once"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
