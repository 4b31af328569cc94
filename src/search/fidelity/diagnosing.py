"""Acting on what a trial's own curves say while it trains, whatever the others do."""

from collections.abc import Sequence
from math import ceil, inf, isfinite

from src.diagnosis.rules import diagnose, least
from src.search.points.mutation import neighbour
from src.search.protocol import Spec
from src.study.history import Direction, History, Proposal, Reported, Trial

LOOKS = 10  # at a trial on its way
RATE = "optimizer.lr"
LOWER = 0.3  # of the rate goes on where it was too high
LONGER = 1.5  # times the epochs at most


class Diagnosed:
    """A look at every tenth of the epochs. Who has diverged or is too slow ends; all others go on.

    Who is unstable goes on once with a lower rate, where the rate is searched, and who still improves at the last look so
    fast that he may pass the best gets more epochs. Both are trials of their own, which begin with the weights of the one
    that ends. Every end says why.
    """

    waits = False

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.rungs: Sequence[int] = sorted({ceil(spec.epochs * look / LOOKS) for look in range(1, LOOKS + 1)})
        self._history, self._read, self._known = History(spec.direction), 0, inf

    def first(self, number: int) -> int:
        """The epochs at which a new trial reports first."""
        return self.rungs[0]

    def ends(self, history: History) -> list[Proposal]:
        """The paused trials that are over, each with the reason."""
        if not any(history.of("paused")):
            return []
        known = self._least(history)
        reasons = {trial.number: self._reason(history, trial, known) for trial in history.of("paused")}
        return [
            Proposal(t.params, t.epochs, t.number, reason=r) for t in history.of("paused") if (r := reasons[t.number])
        ]

    def promotions(self, history: History) -> list[Proposal]:
        """What goes on in place of a trial that has ended, then the paused trials, once no ends are left."""
        followed = {trial.start_from[0] for trial in history.trials if trial.start_from}
        ended = [trial for trial in history.of("pruned") if trial.number not in followed]
        successors = [found for trial in ended if (found := self._successor(trial))]
        return [*successors, *(Proposal(t.params, self._next(t), t.number) for t in history.of("paused"))]

    def _least(self, history: History) -> float | None:
        """The lowest validation loss that any trial has come to."""
        if history is not self._history:
            self._history, self._read, self._known = history, 0, inf
        new = {event.trial for event in history.events[self._read :] if isinstance(event, Reported)}
        self._read = len(history.events)
        self._known = min(self._known, least([history.trials[number].curves for number in sorted(new)]) or inf)
        return self._known if isfinite(self._known) else None

    def _next(self, trial: Trial) -> int:
        """The epochs at which a trial reports next."""
        return next((rung for rung in self.rungs if rung > trial.epochs), trial.max_epochs)

    def _reason(self, history: History, trial: Trial, known: float | None) -> str:
        """Why a trial ends here, or ""."""
        losses = trial.curves.get("val/loss", [])
        if not (losses and losses[-1] < losses[0]) and (reason := divergence(trial.values, self.spec.direction)):
            return reason  # an accuracy may fall by chance while the loss falls too
        if not losses:
            return ""
        found = diagnose(trial.curves, known)
        rates = trial.curves.get("lr", [])
        if found.kind == "diverged" or (found.kind == "too slow" and not _rises(rates)):
            return str(found)
        if found.kind == "unstable" and not trial.start_from and (lower := self._lower(trial)) is not None:
            return f"{found.kind}: {found.evidence}: goes on as another trial with {RATE} {lower:.3g}"
        if found.kind == "still improving" and self._may_pass(trial, known):
            return (
                f"{found.kind}: {found.evidence}: goes on as another trial to {ceil(LONGER * trial.max_epochs)} epochs"
            )
        return ""

    def _successor(self, trial: Trial) -> Proposal | None:
        """The trial that goes on where this one has ended."""
        source = (trial.number, trial.epochs)
        if trial.reason.startswith("unstable: "):
            params = {**trial.params, self._rate_of(trial): self._lower(trial)}
            return Proposal(params, self._next(trial), None, source)
        if trial.reason.startswith("still improving: "):
            longer = ceil(LONGER * trial.max_epochs)
            return Proposal(trial.params, longer, None, source, max_epochs=longer)
        return None

    def _may_pass(self, trial: Trial, known: float | None) -> bool:
        """Whether it is the last look at a trial of the usual length, which at its pace would come to the best loss."""
        last = len(self.rungs) > 1 and trial.epochs == self.rungs[-2] and trial.max_epochs == self.spec.epochs
        losses = trial.curves["val/loss"]
        if not last or len(losses) < 3:
            return False
        pace = (losses[-3] - losses[-1]) / 2
        return losses[-1] - pace * (ceil(LONGER * trial.max_epochs) - trial.epochs) <= (inf if known is None else known)

    def _rate_of(self, trial: Trial) -> str:
        """The name of the dimension of the rate, or ""."""
        dimensions = self.spec.space.leaf(trial.params).dimensions
        return next((name for name, dimension in dimensions.items() if dimension.key == RATE), "")

    def _lower(self, trial: Trial) -> float | None:
        """The rate to go on with; None where it is fixed, or at its end already."""
        if not (name := self._rate_of(trial)):
            return None
        distribution = self.spec.space.distributions(trial.params)[name]
        lower = neighbour(distribution, trial.params[name], 1 / LOWER, False)
        return float(lower) if lower < trial.params[name] else None


def _rises(rates: Sequence[float]) -> bool:
    """Whether the rate is still on its way up."""
    return len(rates) > 1 and rates[-1] > rates[-2]


def divergence(values: Sequence[float], direction: Direction) -> str:
    """Why a curve has diverged, or "": its last value is not finite, or worse than that after its first epoch."""
    first, last = values[0], values[-1]
    if not isfinite(last):
        return f"diverged: {last} after epoch {len(values)}"
    if last > first if direction == "minimize" else last < first:
        return f"diverged: {last:.4g} after epoch {len(values)}, worse than {first:.4g} after the first"
    return ""
