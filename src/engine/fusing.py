"""Populations made of tasks, and the test of whether members of a signature can be fused without changing a bit."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.bilevel.architecture_population import ArchitecturePopulation
from src.bilevel.hypergradient_population import HypergradientPopulation
from src.bilevel.settings import Settings
from src.config.components import make
from src.data.dataset import load
from src.data.joined_rows import joined
from src.data.paging import read_at_random
from src.engine.memory import memory
from src.engine.task import WorkerSetup
from src.models.building import VALUES
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.population import Population
from src.population.rows import Rows
from src.system.errors import first_line

MAPPED = 0.5  # of the memory: training inputs up to there are left to the kernel, which soon has all of them in memory


def population_of(
    members: Sequence[Member],
    data: Rows,
    setup: WorkerSetup,
    checkpoints: Sequence[Checkpoint | None] | None,
    fused: bool,
) -> Population:
    """Make a population with the optimizers and schedules that its members' configs name.

    Args:
        members: K members of one signature.
        data: the rows, as `rows` returns them.
        setup: has the packages whose classes a config may name.
        checkpoints: for each member where it goes on, None where it begins; None: all begin.
        fused: one vmapped call for all members, or a plain call each.
    """
    return _kind(members[0])(
        members,
        data,
        lambda config: make("optimizer", config.optimizer),
        lambda config: make("schedule", config.schedule),
        checkpoints,
        fused,
    )


def _kind(member: Member) -> type[Population]:
    """Choose the kind of population by what its members learn."""
    if member.config.training.darts:
        return ArchitecturePopulation
    return HypergradientPopulation if Settings.of(member.config) else Population


@lru_cache(maxsize=2)
def rows(setup: WorkerSetup) -> Rows:
    """Return the prepared data as tensors on the device, read once a worker; on the CPU all share the page cache."""
    data = load(setup.data)
    x_train, y_train, *val = (data.x_train, data.y_train, data.x_val, data.y_val)
    if setup.with_validation:
        x_train, y_train = joined(x_train, val[0], setup.data), np.concatenate([y_train, val[1]])
    arrays = [*_subset(setup.max_rows, x_train, y_train), *_subset(setup.max_rows, *val)]
    larger_than_memory = setup.device == "cpu" and arrays[0].nbytes > memory() * MAPPED and read_at_random(arrays[0])
    train_x, train_y, val_x, val_y = (torch.from_numpy(a).to(setup.device) for a in arrays)
    return Rows(data.meta, train_x, train_y, val_x, val_y, setup.metrics, larger_than_memory)


def _subset(most: int | None, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Choose the same random rows of all arrays, in their order."""
    if most is None or len(arrays[0]) <= most:
        return list(arrays)
    places = np.sort(np.random.default_rng(0).permutation(len(arrays[0]))[:most])
    return [array[places] for array in arrays]


_obstacles: dict[tuple[str, WorkerSetup], str] = {}


def fusing_obstacle(member: Member, setup: WorkerSetup) -> str:
    """Return the reason why members like this one cannot train as one population; "" where they can.

    It is tried: a few batches fused and alone must leave the same bits. (On a GPU it is enough that the fused form runs.)
    """
    key = (member.signature(), setup)
    if key not in _obstacles:
        _obstacles[key] = _try_fused(member, setup)
    return _obstacles[key]


def _try_fused(member: Member, setup: WorkerSetup) -> str:
    probes, data = _probes(member), _few(rows(setup), member)
    if member.holdout_rows is not None:
        probes = [replace(probe, holdout_rows=np.arange(len(data.x_train))) for probe in probes]
    try:
        alone = population_of(probes, data, setup, None, fused=False)
        if alone.stack.looks_up:
            return "each looks up training rows of its own"
        alone.epoch()
    except Exception as error:
        return f"a trial of them fails: {first_line(error)}"
    try:
        together = population_of(probes, data, setup, None, fused=True)
        together.epoch()
    except Exception as error:
        return f"torch.func.vmap refuses it: {first_line(error)}"
    pairs = [(alone.stack.p_KP, together.stack.p_KP)]
    pairs += [(alone.save(k).predictions, together.save(k).predictions) for k in range(len(probes))]
    pairs += [(tensor, together.stack.fixed[name]) for name, tensor in alone.stack.fixed.items()]
    pairs += [(tensor, together.state[name]) for name, tensor in alone.state.items()]
    same = all(torch.equal(a, b) for a, b in pairs) and alone.curves == together.curves
    return "" if same or setup.device != "cpu" else "its kernels give other bits in a stack than alone"


def _probes(member: Member) -> list[Member]:
    """Make members that differ where a signature lets them: a model that reads its own `dropout` cannot be fused."""
    model, probes = member.config.model, []
    for k in range(2):
        values = {key: (k + 1) / 4 for key in VALUES if isinstance(model.get(key), float)}
        probes.append(replace(member, config=member.config.with_model(**values), seed=member.seed + k, rows=None))
    return probes


def _few(data: Rows, member: Member) -> Rows:
    """Return the rows of two full batches and of what would be left over in the end, so that every shape occurs."""
    n = len(data.x_train) if member.rows is None else len(member.rows)
    batch = member.config.batch_size
    few = min(n, 2 * batch + n % batch)
    train, val = (data.x_train[:few], data.y_train[:few]), (data.x_val[:few], data.y_val[:few])
    return Rows(data.meta, *train, *val)  # without further metrics, which so few rows may leave undefined
