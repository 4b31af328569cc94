"""What has happened in a study, in order: all that a search may know."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

TrialState = Literal["running", "paused", "complete", "pruned", "fail"]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Proposal:
    """What to train next. A promotion to the epochs that its trial already has ends the trial: it is pruned."""

    params: Mapping[str, Any]
    epochs: int  # total epochs the trial shall have when it next reports
    trial: int | None = None  # None: a new trial; else a promotion
    start_from: tuple[int, int] | None = None  # weights of (trial, epoch)


@dataclass
class Trial:
    """One point of the space and what became of it. `values[e]` is the objective after epoch e + 1."""

    number: int
    params: Mapping[str, Any]
    full: int  # epochs of a complete run
    cost: float  # virtual seconds an epoch
    target: int  # epochs it shall have when it next reports
    start_from: tuple[int, int] | None = None
    state: TrialState = "running"
    values: list[float] = field(default_factory=list)
    reason: str = ""  # of a failure

    @property
    def epochs(self) -> int:
        return len(self.values)

    @property
    def value(self) -> float | None:
        """The objective after the last epoch, once the trial is complete."""
        return self.values[-1] if self.state == "complete" else None


@dataclass(frozen=True)
class Started:
    """A trial trains until it has `target` epochs."""

    trial: int
    target: int


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

    def start(self, proposal: Proposal, full: int, cost: float) -> Trial:
        """A new trial begins, or a paused one goes on."""
        if proposal.trial is None:
            target = min(proposal.epochs, full)
            trial = Trial(len(self.trials), proposal.params, full, cost, target, proposal.start_from)
            self.trials.append(trial)
        else:
            trial = self.trials[proposal.trial]
            assert trial.state == "paused", f"trial {trial.number} is {trial.state}"
            trial.target = min(proposal.epochs, trial.full)
            trial.start_from, trial.state = proposal.start_from, "running"
        self.events.append(Started(trial.number, trial.target))
        return trial

    def report(self, number: int, values: Sequence[float], state: TrialState, reason: str = "") -> None:
        """The next epochs of a trial are in."""
        trial = self.trials[number]
        trial.values.extend(values)
        trial.state, trial.reason = state, reason
        self.events.append(Reported(number, trial.epochs, state))

    def of(self, *states: TrialState) -> Iterator[Trial]:
        """The trials in one of these states, by number."""
        return (trial for trial in self.trials if trial.state in states)

    @property
    def best(self) -> Trial | None:
        """The complete trial of best value; of equals the first."""
        sign = 1 if self.direction == "minimize" else -1
        complete = list(self.of("complete"))
        return min(complete, key=lambda t: (sign * t.values[-1], t.number)) if complete else None
