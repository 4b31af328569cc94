"""The form of a schedule of the learning rate: a pure function of a member's position in its run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.float64]
ROUNDING = 1e-9  # of a position, so that the third period of 0.1 epochs begins at 0.3


@dataclass(frozen=True)
class Position:
    """The place of S steps in a member's run.

    `step` [S] counts from 0 over the whole run of `epochs`, each of `per_epoch` steps. `curves` are those that the schedule
    watches, a value an epoch so far.
    """

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
        """The steps in the whole run."""
        return self.epochs * self.per_epoch


class Schedule(Protocol):
    """The rate at every step of a run."""

    def factor(self, at: Position) -> Steps:
        """Return the factor of the member's rate at each step [S]."""
        ...


@runtime_checkable
class Cyclic(Protocol):
    """A schedule of the momentum too: the optimizer's `momentum` or `beta1`, where it has one (Smith 2018)."""

    def momentum_factor(self, at: Position) -> Steps:
        """Return the factor of the member's momentum at each step [S]."""
        ...


@runtime_checkable
class Repeating(Protocol):
    """A schedule in cycles, at whose ends the rate is low."""

    def ends(self, epochs: int) -> list[float]:
        """Return the epochs at which its whole cycles end within a run of `epochs`."""
        ...


@runtime_checkable
class Watching(Protocol):
    """A schedule that follows curves of the member: those that `watches` names, such as val/loss.

    Under one that watches the validation rows no member can learn from these too (`refit`).
    """

    watches: ClassVar[tuple[str, ...]]


def watched(schedule: Schedule) -> tuple[str, ...]:
    """Return the names of the curves that a schedule follows."""
    return schedule.watches if isinstance(schedule, Watching) else ()


def anneal(start: float, end: float, share: Steps) -> Steps:
    """Go from `start` to `end` along half a cosine, of which `share` [S], from 0 to 1, has passed."""
    return end + (start - end) * (1 + np.cos(np.pi * share)) / 2
