"""Terminators: a study stops before its trials are used up, once the gain to be expected is under a threshold."""

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.terminator import BestValueStagnationEvaluator, EMMREvaluator, RegretBoundEvaluator
from optuna.trial import create_trial
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.search.protocol import Search, Spec
from src.search.strategies.pbt import PopulationBased
from src.search.strategies.replay import Replay
from src.study.history import History, Proposal, Reported
from src.system.errors import UserError


class Terminator(BaseModel):
    """`search.terminator`. `regret` bounds what is left to gain by a Gaussian process (Makarova et al. 2022), `emmr` expects
    it (Ishibashi et al. 2023), both in units of the objective; `stagnation` counts trials without a better one. Where there
    are rungs, they look at the highest that has `min_trials` results.
    """

    model_config = ConfigDict(extra="forbid")

    name: Literal["none", "regret", "emmr", "stagnation"]
    threshold: Annotated[float, Field(gt=0)] = 0.001
    min_trials: Annotated[int, Field(ge=2)] = 20  # before it may stop; of `stagnation` those without a gain


class Terminated:
    """A search that starts nothing new once its terminator has spoken: what trains ends, what is paused is over."""

    depends_on_results = True

    def __init__(self, search: Search, spec: Spec, terminator: Terminator) -> None:
        """Wrap the `search` of a sweep, `spec`, with its `terminator`."""
        self.search, self.spec, self.terminator = search, spec, terminator
        self._begin(History(spec.direction))

    def _begin(self, history: History) -> None:
        self._history, self._read = history, 0
        self._reason = ""
        self._at: dict[int, optuna.Study] = {}  # the results after so many epochs, as if that were the end

    def propose(self, history: History, n: int) -> list[Proposal]:
        """Ask the search, and after the stop end the paused trials."""
        if not self.reason(history):
            return self.search.propose(history, n)
        return [Proposal(t.params, t.epochs, t.number) for t in history.of("paused")][:n]

    def done(self, history: History) -> bool:
        """Tell whether nothing is left to train."""
        if not self.reason(history):
            return self.search.done(history)
        return not any(history.of("running", "paused"))

    def reason(self, history: History) -> str:
        """The reason for which the study stops, or ""; once it has stopped it never goes on."""
        if history is not self._history:
            self._begin(history)
        for event in history.events[self._read :]:
            if isinstance(event, Reported) and event.state in ("paused", "complete") and not self._reason:
                self._take(event)
        self._read = len(history.events)
        return self._reason

    def _take(self, event: Reported) -> None:
        """A result; it is looked at if no rung above has enough of them."""
        trial, terminator = self._history.trials[event.trial], self.terminator
        level = self.spec.epochs if event.state == "complete" else event.epochs  # some end earlier
        if level not in self._at:
            self._at[level] = optuna.create_study(direction=self.spec.direction)
        study, params = self._at[level], dict(trial.params)
        distributions = self.spec.space.distributions(params)
        study.add_trial(create_trial(params=params, distributions=distributions, value=trial.values[event.epochs - 1]))
        counts = {epochs: len(results.get_trials(deepcopy=False)) for epochs, results in self._at.items()}
        enough = [epochs for epochs, count in counts.items() if count >= terminator.min_trials]
        if level != max(enough, default=0):
            return
        trials = study.get_trials(deepcopy=False)
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            gain = _gain(terminator, len(trials)).evaluate(trials, study.direction)
        if terminator.name == "stagnation" and gain <= 0:
            self._reason = f"none of the last {terminator.min_trials} trials with {level} epochs was a better one"
        elif terminator.name != "stagnation" and gain < terminator.threshold:
            self._reason = (
                f"after {len(trials)} trials with {level} epochs the gain to expect is {gain:.2g} "
                f"({terminator.name}), under {terminator.threshold:g}"
            )


def _gain(terminator: Terminator, count: int) -> Any:
    """Optuna's estimate of what is left to gain; for `stagnation` the trials left before it is one."""
    if terminator.name == "regret":
        return RegretBoundEvaluator(min_n_trials=terminator.min_trials, seed=count)
    if terminator.name == "emmr":
        return EMMREvaluator(min_n_trials=terminator.min_trials, seed=count)
    return BestValueStagnationEvaluator(max_stagnation_trials=terminator.min_trials)


def terminated(search: Search, spec: Spec, terminator: str | Mapping[str, Any]) -> Search:
    """Wrap a search so that its terminator can end it, if the config has one.

    Args:
        search: the strategy.
        spec: of the sweep.
        terminator: a name, or a mapping of `name` and its options.

    Raises:
        UserError: there is no such terminator, or it knows nothing of such a search.
    """
    try:
        options = Terminator.model_validate({"name": terminator} if isinstance(terminator, str) else terminator)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        key = ".".join(["search.terminator", *map(str, first["loc"])])
        raise UserError(f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r}") from None
    if options.name != "none" and spec.goals.minimized:
        raise UserError("search.terminator: knows the gain of one objective only; with several take none")
    if options.name == "none":
        return search
    if isinstance(search, PopulationBased | Replay):
        raise UserError("search.terminator: the members of pbt and replay come to their ends together; take none")
    return Terminated(search, spec, options)
