"""Ending what a trial's own curve shows to have gone wrong, whatever the others do."""

from collections.abc import Sequence
from math import ceil, isfinite

from src.history import Direction, History, Proposal
from src.search import Spec

LOOKS = 10  # at a trial on its way


class Diagnosed:
    """A look at every tenth of the epochs: who has diverged ends with the reason, all others go on."""

    waits = False

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.rungs: Sequence[int] = sorted({ceil(spec.epochs * look / LOOKS) for look in range(1, LOOKS + 1)})

    def first(self, number: int) -> int:
        """The epochs at which a new trial reports first."""
        return self.rungs[0]

    def ends(self, history: History) -> list[Proposal]:
        """The paused trials that have diverged."""
        reasons = {t.number: divergence(t.values, self.spec.direction) for t in history.of("paused")}
        return [
            Proposal(t.params, t.epochs, t.number, reason=reasons[t.number])
            for t in history.of("paused")
            if reasons[t.number]
        ]

    def promotions(self, history: History) -> list[Proposal]:
        """The paused trials go on, once no ends are left."""
        return [
            Proposal(t.params, next(rung for rung in self.rungs if rung > t.epochs), t.number)
            for t in history.of("paused")
        ]


def divergence(values: Sequence[float], direction: Direction) -> str:
    """Why a curve has diverged, or "": its last value is not finite, or worse than that after its first epoch."""
    first, last = values[0], values[-1]
    if not isfinite(last):
        return f"diverged: {last} after epoch {len(values)}"
    if last > first if direction == "minimize" else last < first:
        return f"diverged: {last:.4g} after epoch {len(values)}, worse than {first:.4g} after the first"
    return ""
