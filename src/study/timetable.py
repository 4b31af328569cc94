"""Which trial trains in which slot, in virtual time: what makes an asynchronous search deterministic.

A segment costs its epochs times what an epoch of its trial costs by estimate, a number known before it runs. Results are
taken in the order of their virtual ends, whatever order they arrive in; a freed slot gets the next proposal at that
virtual moment. So every decision depends on the history alone, and all running segments may be computed in any order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from src.study.history import History, Started, Trial

SEGMENT_SECONDS = 60.0  # virtual; longer trainings report in between
SOON = 1.0  # virtual; shorter segments would cost more than a slot that waits so long


@dataclass(frozen=True)
class Segment:
    """A trial trains from one epoch to another, and is over at a moment of virtual time."""

    trial: int
    start: int
    stop: int
    end: float


class Timetable:
    """The segments in flight, a plain function of the history's events and the number of slots."""

    def __init__(
        self, history: History, slots: int, ends: Callable[[Trial, int], float] = lambda trial, epochs: inf
    ) -> None:
        """`ends`: after how many epochs a trial that has come so far may end by itself, at the earliest. There its segment
        is over, if that is not too soon: so a slot is free once its trial has stopped.
        """
        self.history, self.slots, self.ends = history, slots, ends
        self.clock = 0.0
        self.running: dict[int, Segment] = {}
        self._read = 0
        self._targets: dict[int, int] = {}
        self.sync()

    def sync(self) -> None:
        """Take in the events that have come since."""
        for event in self.history.events[self._read :]:
            if isinstance(event, Started):
                self._targets[event.trial] = event.target
                self._begin(event.trial, event.epochs)
                continue
            if segment := self.running.pop(event.trial, None):  # none: a paused trial was ended
                self.clock = segment.end
            if event.state == "running":
                self._begin(event.trial, event.epochs)
        self._read = len(self.history.events)

    @property
    def free(self) -> int:
        """Slots without a segment."""
        return self.slots - len(self.running)

    @property
    def next(self) -> Segment | None:
        """The segment that ends first; of those that end together, that of the lowest trial."""
        return min(self.running.values(), key=lambda s: (s.end, s.trial), default=None)

    def _begin(self, number: int, start: int) -> None:
        trial = self.history.trials[number]
        longest, shortest = (start + max(1, int(seconds / trial.cost)) for seconds in (SEGMENT_SECONDS, SOON))
        stop = int(min(self._targets[number], longest, max(self.ends(trial, start), shortest)))
        self.running[number] = Segment(number, start, stop, self.clock + (stop - start) * trial.cost)
