"""The work of a worker: segments of members in, checkpoints and curves out. Any worker can run any segment again."""

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from src.config.components import trust
from src.engine.fusing import fusing_obstacle, population_of, rows
from src.engine.latency import latency_ms
from src.engine.net_growth import inherited
from src.engine.processes import TimeIsOverError, time_limit
from src.engine.task import DIVERGED, MACHINE, Outcome, Task, WorkerSetup, read_checkpoint
from src.metrics.scoring import score
from src.models.building import build
from src.population.batching import grows
from src.population.checkpoint import Checkpoint
from src.population.early_stopping import prediction_epochs, reason, stopped, stops
from src.population.losses import in_target_unit
from src.population.member import Member, one_thread
from src.population.member_rows import hold_rows
from src.population.population import Population
from src.population.rows import Rows
from src.system.errors import UserError, first_line
from src.system.reason import NONE, Reason
from src.system.trial_config import TrialConfig

SOURCE = Path(__file__).parents[1]  # errors that are raised here name what would be right


def train(tasks: Sequence[Task], setup: WorkerSetup) -> list[Outcome]:
    """Train tasks of one signature, as one population where that keeps every bit, else one after the other."""
    trust(setup.trusted)
    one_thread()  # whatever the code of a user has set before
    began = time.monotonic()
    waiting = []
    outcomes = []
    for task in tasks:
        if done := _finished(task, setup):
            outcomes.append(done)
        else:
            waiting.append(task)
    note = _obstacle(waiting[0], setup) if len(waiting) > 1 else ""
    for group in [[task] for task in waiting] if note or not waiting else [waiting]:
        outcomes += _attempt(group, setup)
    timed = {task.key: task for task in tasks if task.timed}
    for k, outcome in enumerate(outcomes):
        if outcome.key in timed and not outcome.error:
            outcomes[k] = _with_latency(outcome, timed[outcome.key], setup)
    ended = time.monotonic()
    return [replace(o, began=began, ended=ended, note=note) for o in outcomes]


def _obstacle(task: Task, setup: WorkerSetup) -> str:
    """Return the reason why members like that of `task` cannot be fused; "" where they can."""
    try:
        with time_limit(setup.timeout, task.timeout_note):
            return fusing_obstacle(task.member, setup)
    except (TimeIsOverError, SystemExit) as error:
        return f"a trial of them fails: {first_line(error)}"


def _with_latency(outcome: Outcome, task: Task, setup: WorkerSetup) -> Outcome:
    """Return the outcome with the latency of its member's model, which may fail at a single row."""
    try:
        with time_limit(setup.timeout, task.timeout_note):
            return replace(outcome, latency_ms=_latency_ms(task.member, rows(setup)))
    except (Exception, SystemExit) as error:
        return failure(task.key, task.member.config, error)


def _latency_ms(member: Member, data: Rows) -> float:
    """Measure a member's model with new weights, which change nothing, for a single validation row."""
    model = build(member.config.model, data.meta).to(data.x_val.device)
    hold_rows(model, member, data)
    return latency_ms(model, data.x_val[:1])


def _finished(task: Task, setup: WorkerSetup) -> Outcome | None:
    """Return the outcome of a task whose checkpoint stands already, since a crash came between it and the study."""
    state = read_checkpoint(task.checkpoint)
    return replace(_outcome(task, state.curves, 0.0), metrics=_metrics(task, state, setup)) if state else None


def _outcome(task: Task, curves: dict[str, list[float]], seconds: float, error: Reason = NONE) -> Outcome:
    """Make the outcome of a task whose member has these curves."""
    config = task.member.config
    epochs = prediction_epochs(config, curves)
    best = {name: [curve[epoch - 1] for epoch in epochs] for name, curve in curves.items()} if stops(config) else {}
    return Outcome(
        task.key, len(epochs), curves, seconds, error, best_epoch_curves=best, stopped=reason(config, curves)
    )


def _metrics(task: Task, state: Checkpoint, setup: WorkerSetup) -> dict[str, float]:
    """Every metric of a member's predictions for the validation rows, unless it is judged on rows of its own."""
    if task.member.holdout_rows is not None:
        return {}
    data, meta = rows(setup), rows(setup).meta
    y_N = data.y_val if data.classification else in_target_unit(data.y_val, meta)
    figures = score(meta.task, state.predictions.cpu().numpy(), y_N.cpu().numpy())
    return {f"val/{name}": figure for name, figure in figures.items()}


def _attempt(group: list[Task], setup: WorkerSetup) -> list[Outcome]:
    """Train a group; when it fails as a whole, each alone, so that only the culprit fails."""
    try:
        with time_limit(setup.timeout and setup.timeout * len(group), group[0].timeout_note):
            return _train(group, setup)
    except (Exception, SystemExit) as error:
        if len(group) > 1:
            return [outcome for task in group for outcome in _attempt([task], setup)]
        return [failure(group[0].key, group[0].member.config, error)]


def failure(key: str, config: TrialConfig, error: Exception | SystemExit) -> Outcome:
    """Make the outcome of a training that an error has ended: with its traceback where it is a bug, not a bad point.

    Args:
        key: of its task.
        config: of its member.
        error: by which it ended; a model of a user's may call `sys.exit`.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
        return Outcome(key, 0, {}, 0.0, Reason("out of memory", _too_large(config)))
    frames = traceback.extract_tb(error.__traceback__)
    foreseen = isinstance(error, ValueError) and Path(frames[-1].filename).is_relative_to(SOURCE)
    if isinstance(error, UserError) or foreseen:
        return Outcome(key, 0, {}, 0.0, Reason("refused", first_line(error)))
    line = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
    origin = f"{type(error).__qualname__} at {line.filename}:{line.lineno}"
    broken = isinstance(error, OSError) and error.errno is not None
    text = f"it calls for the end of its process ({error!r})" if isinstance(error, SystemExit) else first_line(error)
    reason = Reason(MACHINE if broken else type(error).__qualname__, text)
    return Outcome(key, 0, {}, 0.0, reason, "".join(traceback.format_exception(error)), origin)


def _train(group: list[Task], setup: WorkerSetup) -> list[Outcome]:
    began = time.monotonic()
    outcomes, tasks, states = [], [], []
    for task in group:
        state = _source(task, setup)
        if state and stopped(task.member.config, state.curves):  # in an earlier segment, while another fold went on
            state.save(task.checkpoint)
            outcomes.append(replace(_outcome(task, state.curves, 0.0), metrics=_metrics(task, state, setup)))
        else:
            states.append(state)
            tasks.append(task)
    if not tasks:
        return outcomes
    begins = [state.epoch if state else 0 for state in states]
    if grows(tasks[0].member.config) and len(set(begins)) > 1:  # a step takes as many rows of each
        alike = [[task for task, begin in zip(tasks, begins, strict=True) if begin == epoch] for epoch in set(begins)]
        return outcomes + [outcome for part in alike for outcome in _train(part, setup)]
    population = population_of([t.member for t in tasks], rows(setup), setup, states, len(tasks) > 1)
    while tasks:
        points, going = population.epoch(), []
        for k, (task, point) in enumerate(zip(tasks, points, strict=True)):
            if outcome := _end(task, population, k, point, setup):
                outcomes.append(replace(outcome, seconds=(time.monotonic() - began) / len(group)))
            else:
                going.append(k)
        if len(going) < len(tasks):
            tasks = [tasks[k] for k in going]
            if tasks:
                population.keep(going)
    return outcomes


def _end(task: Task, population: Population, k: int, point: Mapping[str, float], setup: WorkerSetup) -> Outcome | None:
    """Make the outcome of the member at place `k`, and its checkpoint, after an epoch; None where it goes on."""
    diverged = not all(abs(point[name]) < float("inf") for name in ("train/loss", "val/loss"))
    over = population.epochs[k] >= task.stop or stopped(task.member.config, population.curves[k])
    if not diverged and not over:
        if task.checkpoint_each_epoch:
            population.save(k).save(task.part)
        return None
    metrics: dict[str, float] = {}
    if not diverged:
        state = population.save(k)
        state.save(task.checkpoint)
        metrics = _metrics(task, state, setup)
    task.part.unlink(missing_ok=True)
    error = Reason(DIVERGED, DIVERGED) if diverged else NONE
    return replace(_outcome(task, population.curves[k], 0.0, error), metrics=metrics)


def _source(task: Task, setup: WorkerSetup) -> Checkpoint | None:
    """Return the checkpoint from which the member goes on; one torn or gone is trained again, to the same bits."""
    if state := read_checkpoint(task.part) or read_checkpoint(task.source):
        return state
    line = [*task.lineage, task]
    begun = len(task.lineage)
    while begun and not (state := read_checkpoint(line[begun - 1].checkpoint)):
        begun -= 1
    for place in range(begun, len(line)):
        if state:
            state = inherited(state, line[place - 1].member, line[place].member, rows(setup).meta)
        if place < len(task.lineage):
            state = _retrained(line[place], state, setup)
    return state


def _retrained(task: Task, state: Checkpoint | None, setup: WorkerSetup) -> Checkpoint:
    population = population_of([task.member], rows(setup), setup, [state], fused=False)
    while population.epochs[0] < task.stop and not stopped(task.member.config, population.curves[0]):
        population.epoch()
    return population.save(0)


def _too_large(config: TrialConfig) -> str:
    pieces = config.training.accumulate
    less = f"training.accumulate={2 * pieces} takes less at once"
    return f"out of memory: batch_size={config.batch_size} may be too large; {less}"
