"""Schedules of the learning rate, one a file: pure functions of a member's position in its run.

To add one: a dataclass in `src/optim/schedules/<name>.py` and `conf/schedule/<name>.yaml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.float64]
ROUNDING = 1e-9  # of a position, so that the third period of 0.1 epochs begins at 0.3


@dataclass(frozen=True)
class Position:
    """Where a member stands: steps [S] counted from 0 over its whole run of `epochs`, and curves that are watched."""

    step: Steps
    per_epoch: int
    epochs: int
    curves: Mapping[str, Sequence[float]]

    @property
    def epoch(self) -> Steps:
        """The steps in epochs, so that a period means the same for every batch size."""
        return self.step / self.per_epoch

    @property
    def total(self) -> int:
        """Steps in the whole run."""
        return self.epochs * self.per_epoch


class Schedule(Protocol):
    """The rate at every step of a run."""

    def factor(self, at: Position) -> Steps:
        """Multiplies the member's rate, at each step [S]."""
        ...


@runtime_checkable
class Cyclic(Protocol):
    """A schedule of the momentum too: the optimizer's `momentum` or `beta1`, where it has one (Smith 2018)."""

    def momentum_factor(self, at: Position) -> Steps:
        """Multiplies the member's momentum, at each step [S]."""
        ...


@runtime_checkable
class Repeating(Protocol):
    """A schedule in cycles, at whose ends the rate is low."""

    def ends(self, epochs: int) -> list[float]:
        """The epochs at which its cycles within a run end, as far as they are whole."""
        ...


@runtime_checkable
class Watching(Protocol):
    """A schedule that follows curves of the member: it sees those, and others see none.

    Under one that watches the validation rows no member can learn from these too (`refit`).
    """

    watches: ClassVar[tuple[str, ...]]  # their names, such as val/loss


def watched(schedule: Schedule) -> tuple[str, ...]:
    """The names of the curves that a schedule follows."""
    return schedule.watches if isinstance(schedule, Watching) else ()


def anneal(start: float, end: float, share: Steps) -> Steps:
    """Half a cosine from `start` to `end`, of which the share from 0 to 1 has passed."""
    return end + (start - end) * (1 + np.cos(np.pi * share)) / 2
