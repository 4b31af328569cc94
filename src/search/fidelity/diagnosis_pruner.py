"""A fidelity rule by the diagnosis of each trial's own curves while it trains, whatever the other trials do."""

from collections.abc import Sequence
from math import ceil, inf, isfinite

from src.diagnosis.rules import diagnose, least
from src.search.points.mutation import neighbour
from src.search.protocol import Spec
from src.study.history import Direction, History, Proposal, Reported, Trial
from src.system.reason import Reason

LOOKS = 10  # at a trial on its way
RATE = "optimizer.lr"
LOWER = 0.3  # the factor of a rate that was too high
LONGER = 1.5  # times the epochs at most


class DiagnosisPruner:
    """Look at each trial every tenth of its epochs, and end it with a reason if it has diverged or is too slow.

    An unstable trial goes on once with a lower rate, where the rate is searched. A trial that at the last look improves so
    fast that it may pass the best gets more epochs. Both go on as new trials, which begin with the weights of the old.
    """

    leaves_paused = False

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.rungs: Sequence[int] = sorted({ceil(spec.epochs * look / LOOKS) for look in range(1, LOOKS + 1)})
        self._history, self._read, self._least = History(spec.direction), 0, inf

    def first(self, number: int) -> int:
        """The epochs at which a new trial reports first."""
        return self.rungs[0]

    def ends(self, history: History) -> list[Proposal]:
        """The paused trials that are over, each with the reason."""
        if not any(history.of("paused")):
            return []
        reference = self._least_loss(history)
        reasons = {trial.number: self._reason(trial, reference) for trial in history.of("paused")}
        return [
            Proposal(t.params, t.epochs, t.number, reason=r) for t in history.of("paused") if (r := reasons[t.number])
        ]

    def promotions(self, history: History) -> list[Proposal]:
        """The successors of trials that have ended, then the paused trials, once no ends are left."""
        followed = {trial.start_from[0] for trial in history.trials if trial.start_from}
        ended = [trial for trial in history.of("pruned") if trial.number not in followed]
        successors = [proposal for trial in ended if (proposal := self._successor(trial))]
        return [*successors, *(Proposal(t.params, self._next(t), t.number) for t in history.of("paused"))]

    def _least_loss(self, history: History) -> float | None:
        """The lowest validation loss that any trial has come to."""
        if history is not self._history:
            self._history, self._read, self._least = history, 0, inf
        new = {event.trial for event in history.events[self._read :] if isinstance(event, Reported)}
        self._read = len(history.events)
        self._least = min(self._least, least([history.trials[number].curves for number in sorted(new)]) or inf)
        return self._least if isfinite(self._least) else None

    def _next(self, trial: Trial) -> int:
        """The epochs at which a trial reports next."""
        return next((rung for rung in self.rungs if rung > trial.epochs), trial.max_epochs)

    def _reason(self, trial: Trial, reference: float | None) -> Reason:
        """The reason to end a trial here, or a false one."""
        losses = trial.curves.get("val/loss", [])
        if not (losses and losses[-1] < losses[0]) and (reason := divergence(trial.values, self.spec.direction)):
            return reason  # an accuracy may fall by chance while the loss falls too
        if not losses:
            return Reason()
        diagnosis = diagnose(trial.curves, reference)
        kind, evidence = diagnosis.kind, diagnosis.evidence
        if kind == "diverged" or (kind == "too slow" and not _rises(trial.curves.get("lr", []))):
            return Reason(kind, str(diagnosis))
        if kind == "unstable" and not trial.start_from and (lower := self._lower_rate(trial)) is not None:
            return Reason(kind, f"{kind}: {evidence}: goes on as another trial with {RATE} {lower:.3g}")
        if kind == "still improving" and self._may_pass(trial, reference):
            return Reason(kind, f"{kind}: {evidence}: goes on as another trial to {self._longer(trial)} epochs")
        return Reason()

    def _successor(self, trial: Trial) -> Proposal | None:
        """The trial that goes on where this one has ended."""
        source = (trial.number, trial.epochs)
        if trial.reason.kind == "unstable":
            params = {**trial.params, self._rate_name(trial): self._lower_rate(trial)}
            return Proposal(params, self._next(trial), None, source)
        if trial.reason.kind == "still improving":
            longer = self._longer(trial)
            return Proposal(trial.params, longer, None, source, max_epochs=longer)
        return None

    def _longer(self, trial: Trial) -> int:
        return ceil(LONGER * trial.max_epochs)

    def _may_pass(self, trial: Trial, reference: float | None) -> bool:
        """Tell whether this is the last look at a trial of the usual length that at its pace would come to the best loss."""
        last = len(self.rungs) > 1 and trial.epochs == self.rungs[-2] and trial.max_epochs == self.spec.epochs
        losses = trial.curves["val/loss"]
        if not last or len(losses) < 3:
            return False
        pace = (losses[-3] - losses[-1]) / 2
        return losses[-1] - pace * (self._longer(trial) - trial.epochs) <= (inf if reference is None else reference)

    def _rate_name(self, trial: Trial) -> str:
        """The name of the dimension of the rate, or ""."""
        dimensions = self.spec.space.leaf(trial.params).dimensions
        return next((name for name, dimension in dimensions.items() if dimension.key == RATE), "")

    def _lower_rate(self, trial: Trial) -> float | None:
        """The rate to go on with; None where it is fixed, or at its lower end already."""
        if not (name := self._rate_name(trial)):
            return None
        distribution = self.spec.space.distributions(trial.params)[name]
        lower = neighbour(distribution, trial.params[name], 1 / LOWER, False)
        return float(lower) if lower < trial.params[name] else None


def _rises(rates: Sequence[float]) -> bool:
    """Tell whether the rate is still on its way up."""
    return len(rates) > 1 and rates[-1] > rates[-2]


def divergence(values: Sequence[float], direction: Direction) -> Reason:
    """The reason for which a curve counts as diverged: its last value is not finite, or worse than its first."""
    first, last = values[0], values[-1]
    if not isfinite(last):
        return Reason("diverged", f"diverged: {last} after epoch {len(values)}")
    if last > first if direction == "minimize" else last < first:
        worse = f"diverged: {last:.4g} after epoch {len(values)}, worse than {first:.4g} after the first"
        return Reason("diverged", worse)
    return Reason()
