"""The history of a study: its trials and events in order, which are all that a search may know."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, get_args

from src.system.reason import Reason

TrialState = Literal["running", "paused", "complete", "pruned", "fail"]
Direction = Literal["minimize", "maximize"]
NO_REASON = Reason()


@dataclass(frozen=True)
class Goals:
    """The goals beside the objective, in measures of a trial: those to be minimized, and upper bounds of some."""

    minimized: tuple[str, ...] = ()
    bounds: Mapping[str, float] = field(default_factory=dict)

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures: the further objectives first, then what only has a bound."""
        return (*self.minimized, *(name for name in self.bounds if name not in self.minimized))

    def excess(self, measures: Mapping[str, float]) -> dict[str, float]:
        """The excess of each measure that is there over its bound, as a share of the bound; 0 or less is within."""
        return {n: (measures[n] - bound) / (abs(bound) or 1.0) for n, bound in self.bounds.items() if n in measures}

    def allow(self, measures: Mapping[str, float]) -> bool:
        """Tell whether no measure that is there is above its bound."""
        return all(excess <= 0 for excess in self.excess(measures).values())


@dataclass(frozen=True)
class Proposal:
    """The next training of a trial. A promotion to the epochs that its trial already has ends the trial: it is pruned."""

    params: Mapping[str, Any]
    epochs: int  # total epochs the trial shall have when it next reports
    trial: int | None = None  # None: a new trial; else a promotion
    start_from: tuple[int, int] | None = None  # a new trial goes on with the weights of (trial, epoch), its parent
    reason: Reason = NO_REASON  # for which it ends its trial
    weights_only: bool = False  # of its parent it has the weights alone: its epochs and its curves begin anew
    max_epochs: int | None = None  # epochs of a complete run, where a new trial has others than its config says


@dataclass
class Trial:
    """One point of the space and what became of it. `values[e]` is the objective after epoch e + 1.

    A trial that has a parent begins with the parent's values: its epochs are those that its weights have had. One that
    begins `weights_only` with the weights of a smaller net counts its own.
    """

    number: int
    params: Mapping[str, Any]
    max_epochs: int  # epochs of a complete run
    cost: float  # virtual seconds an epoch
    target: int  # epochs it shall have when it next reports
    start_from: tuple[int, int] | None = None
    state: TrialState = "running"
    values: list[float] = field(default_factory=list)
    reason: Reason = NO_REASON  # of a failure, or of an end for which its own curves are the reason
    measures: dict[str, float] = field(default_factory=dict)  # figures beside the objective, the latest of each
    weights_only: bool = False  # whether it has only its weights from its parent, and no epochs
    curves: dict[str, list[float]] = field(default_factory=dict)  # all that it has recorded, a point an epoch
    metrics: dict[str, float] = field(default_factory=dict)  # of the validation rows, of the weights it predicts with

    @property
    def epochs(self) -> int:
        """The epochs that its weights have had."""
        return len(self.values)

    @property
    def inherited(self) -> int:
        """The epochs that it has from its parent."""
        return self.start_from[1] if self.start_from and not self.weights_only else 0

    @property
    def value(self) -> float | None:
        """The objective after the last epoch, once the trial is complete."""
        return self.values[-1] if self.state == "complete" else None


@dataclass(frozen=True)
class Started:
    """A trial that has `epochs` trains until it has `target`."""

    trial: int
    target: int
    epochs: int = 0


@dataclass(frozen=True)
class Reported:
    """A segment of a trial ended with `epochs` in all, and its trial in `state`."""

    trial: int
    epochs: int
    state: TrialState


@dataclass
class History:
    """The trials and the order of events. Only the study changes it; everyone else reads."""

    direction: Direction
    trials: list[Trial] = field(default_factory=list)
    events: list[Started | Reported] = field(default_factory=list)
    goals: Goals = field(default_factory=Goals)
    candidates: int = 1  # between so many of the best trials a second seed decides
    second_values: dict[int, float | None] = field(default_factory=dict)  # of trials trained again; None: it failed

    def __post_init__(self) -> None:
        self.trials_from_scratch = sum(not trial.start_from for trial in self.trials)  # how many trials have begun anew
        self._in: dict[TrialState, set[int]] = {state: set() for state in get_args(TrialState)}  # places in `trials`
        for place, trial in enumerate(self.trials):
            self._in[trial.state].add(place)

    def start(
        self, proposal: Proposal, max_epochs: int, cost: float, measures: Mapping[str, float] | None = None
    ) -> Trial:
        """Begin a new trial, or go on with a paused one.

        Args:
            proposal: the trial.
            max_epochs: of a complete run.
            cost: virtual seconds an epoch.
            measures: figures of a new trial that are known before it trains.
        """
        if proposal.trial is None:
            target = min(proposal.epochs, max_epochs)
            trial = Trial(len(self.trials), proposal.params, max_epochs, cost, target, proposal.start_from)
            trial.measures |= measures or {}
            trial.weights_only = proposal.weights_only
            if trial.start_from:
                trial.values = self.trials[trial.start_from[0]].values[: trial.inherited]
            self.trials.append(trial)
            self.trials_from_scratch += not trial.start_from
        else:
            trial = self.trials[proposal.trial]
            assert trial.state == "paused", f"trial {trial.number} is {trial.state}"
            trial.target = min(proposal.epochs, trial.max_epochs)
        self._move(trial, "running")
        self.events.append(Started(trial.number, trial.target, trial.epochs))
        return trial

    def report(
        self,
        number: int,
        values: Sequence[float],
        state: TrialState,
        reason: Reason = NO_REASON,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Take the next epochs of a trial.

        Args:
            number: of the trial.
            values: the objective after each of these epochs.
            state: of the trial from now on.
            reason: for its end.
            measures: figures beside the objective.
        """
        trial = self.trials[number]
        trial.values.extend(values)
        trial.measures |= measures or {}
        trial.reason = reason
        self._move(trial, state)
        self.events.append(Reported(number, trial.epochs, state))

    def _move(self, trial: Trial, state: TrialState) -> None:
        self._in[trial.state].discard(trial.number)
        self._in[state].add(trial.number)
        trial.state = state

    def of(self, *states: TrialState) -> Iterator[Trial]:
        """The trials in one of these states, by number."""
        return (self.trials[place] for place in sorted(set[int]().union(*(self._in[state] for state in states))))

    def lineage(self, trial: Trial) -> list[tuple[Trial, int]]:
        """The trials that made a trial's weights, the oldest first, each with the epoch until which it did."""
        line = [(trial, trial.epochs)]
        while source := line[-1][0].start_from:
            line.append((self.trials[source[0]], source[1]))
        return line[::-1]

    def losses(self, trial: Trial) -> tuple[float, ...]:
        """A complete trial's objectives, each to be minimized."""
        sign = 1 if self.direction == "minimize" else -1
        return (sign * trial.values[-1], *(trial.measures[name] for name in self.goals.minimized))

    @property
    def feasible(self) -> list[Trial]:
        """The complete trials within all bounds."""
        return [trial for trial in self.of("complete") if self.goals.allow(trial.measures)]

    @property
    def best(self) -> Trial | None:
        """The feasible trial of best value; of equals the one with the better further objectives, then the first.

        Once all contenders have been trained again, it is the one of the best mean over both seeds.
        """
        contenders = self.contenders
        if contenders and all(trial.number in self.second_values for trial in contenders):
            return min(contenders, key=self._mean_loss)
        return min(self.feasible, key=lambda trial: (*self.losses(trial), trial.number), default=None)

    @property
    def contenders(self) -> list[Trial]:
        """The trials of best value, the best first, between which a second seed decides; none where it decides nothing."""
        if self.candidates < 2 or self.goals.minimized:
            return []
        ordered = sorted(self.feasible, key=lambda trial: (*self.losses(trial), trial.number))
        return ordered[: self.candidates] if len(ordered) > 1 else []

    def _mean_loss(self, trial: Trial) -> float:
        second = self.second_values[trial.number]
        sign = 1 if self.direction == "minimize" else -1
        return inf if second is None else (self.losses(trial)[0] + sign * second) / 2

    @property
    def front(self) -> list[Trial]:
        """The feasible trials that none is better than in one objective and as good in all, the best value first."""
        front: list[Trial] = []
        for trial in sorted(self.feasible, key=lambda trial: (*self.losses(trial), trial.number)):
            if not any(_dominates(self.losses(other), self.losses(trial)) for other in front):
                front.append(trial)
        return front


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
