"""Optuna's pruners as a fidelity rule: a trial that reports goes on or ends, as the pruner says."""

import inspect
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState, create_trial

from src.search.protocol import Spec
from src.study.history import History, Proposal, Reported
from src.system.errors import UserError, require_one_of

Pruner = str | dict[str, Any]


class OptunaPruner:
    """Replay the history through a pruner of Optuna's, so that the same events give the same verdicts."""

    leaves_paused = False

    def __init__(self, pruner: Pruner, spec: Spec, also: Iterable[str] = ()) -> None:
        """Make the pruner and its rungs.

        Args:
            pruner: a name (`none`, `median`, ... any of Optuna's), or a mapping of `name` and its arguments.
            spec: the sweep.
            also: other names that the user may have meant.

        Raises:
            UserError: there is no such pruner, or it takes no such argument.
        """
        self.spec, self.pruner = spec, pruner
        self.rungs = _rungs(make(pruner, spec.epochs, also), spec.epochs)
        self._begin(History(spec.direction))

    def first(self, number: int) -> int:
        """The epochs at which a new trial reports first."""
        return self.rungs[0]

    def ends(self, history: History) -> list[Proposal]:
        """The paused trials that are over.

        They come alone, before anything else is proposed: however many of them a crash lets through, the rest is the same.
        """
        if not any(history.of("paused")):
            return []
        pruned = self._verdicts(history)
        return [Proposal(t.params, t.epochs, t.number) for t in history.of("paused") if t.number in pruned]

    def promotions(self, history: History) -> list[Proposal]:
        """Promote all paused trials, once none is left to end."""
        return [Proposal(t.params, self._next(t.epochs), t.number) for t in history.of("paused")]

    def _next(self, epochs: int) -> int:
        """The epochs at which a trial with so many reports next."""
        return next(rung for rung in self.rungs if rung > epochs)

    def _begin(self, history: History) -> None:
        self._history, self._read = history, 0
        self._pruner = make(self.pruner, self.spec.epochs)
        # A name of its own: Hyperband draws a trial's bracket from it.
        self._study = optuna.create_study(study_name="pruning", direction=self.spec.direction, pruner=self._pruner)
        self._ids: list[int] = []
        self._pruned: set[int] = set()

    def _verdicts(self, history: History) -> set[int]:
        if history is not self._history:
            self._begin(history)
        for event in history.events[self._read :]:
            if isinstance(event, Reported) and event.state != "running":
                self._replay(event)
        self._read = len(history.events)
        return self._pruned

    def _replay(self, event: Reported) -> None:
        trials, storage = self._history.trials, self._study._storage
        while len(self._ids) <= event.trial:
            params = dict(trials[len(self._ids)].params)
            distributions = self.spec.space.distributions(params)
            template = create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
            self._ids.append(storage.create_new_trial(self._study._study_id, template))
        number, values = self._ids[event.trial], trials[event.trial].values
        for epoch in range(len(storage.get_trial(number).intermediate_values) + 1, event.epochs + 1):
            storage.set_trial_intermediate_value(number, epoch, values[epoch - 1])
        if event.state == "paused":
            if self._pruner.prune(self._study, storage.get_trial(number)):
                self._pruned.add(event.trial)
        elif event.state == "complete":
            storage.set_trial_state_values(number, TrialState.COMPLETE, [values[event.epochs - 1]])
        else:
            storage.set_trial_state_values(number, TrialState.PRUNED if event.state == "pruned" else TrialState.FAIL)


def make(pruner: Pruner | Mapping[str, Any], epochs: int, also: Iterable[str] = ()) -> BasePruner:
    """Make one of Optuna's pruners.

    Args:
        pruner: a name, or a mapping of `name` and its arguments.
        epochs: of a full training.
        also: other names that the user may have meant.

    Raises:
        UserError: there is no such pruner, or it takes no such argument.
    """
    options: dict[str, Any] = {"name": pruner} if isinstance(pruner, str) else dict(pruner)
    name = str(options.pop("name", None))
    classes = {n: c for n, c in vars(optuna.pruners).items() if inspect.isclass(c) and issubclass(c, BasePruner)}
    names = {_name(n): c for n, c in classes.items() if c is not BasePruner} | classes
    if name not in names:
        require_one_of("search.pruner", name, sorted({*also, *(n for n in names if n not in classes)}))
    pruner_class = names[name]
    if name == "median":
        options = {"interval_steps": max(1, epochs // 10), "n_warmup_steps": epochs // 10, **options}
    if pruner_class is HyperbandPruner:
        options = {"max_resource": epochs, **options}
    if isinstance(options.get("wrapped_pruner"), str | Mapping):
        options["wrapped_pruner"] = make(options["wrapped_pruner"], epochs)
    try:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            instance = pruner_class(**options)
        _rungs(instance, epochs)  # the numbers that it does not check itself
        return instance
    except (TypeError, ValueError) as error:
        text = str(error).replace(f"{pruner_class.__name__}.__init__() ", "")
        raise UserError(f"search.pruner: {name} is not made like this ({text})") from error


def _name(pruner: str) -> str:
    """The name of one of Optuna's classes in a config: `SuccessiveHalvingPruner` is `successive_halving`."""
    if pruner == "NopPruner":
        return "none"
    return re.sub("(?<!^)(?=[A-Z])", "_", pruner.removesuffix("Pruner")).lower()


def _rungs(pruner: BasePruner, epochs: int) -> Sequence[int]:
    """The epochs at which the pruner can decide anything, and the last."""
    if isinstance(pruner, NopPruner):
        return (epochs,)
    first = getattr(pruner, "_min_resource", None)
    if isinstance(pruner, SuccessiveHalvingPruner | HyperbandPruner) and isinstance(first, int):
        first *= pruner._reduction_factor ** getattr(pruner, "_min_early_stopping_rate", 0)
        rungs = (math.ceil(first * pruner._reduction_factor**k) for k in range(epochs.bit_length()))
        return (*sorted({rung for rung in rungs if rung < epochs}), epochs)
    warmup, interval = getattr(pruner, "_n_warmup_steps", 0), getattr(pruner, "_interval_steps", 1)
    decide = [warmup or 1, *range(warmup + interval, epochs, interval)]  # Optuna counts intervals from the warm-up
    return (*sorted({epoch for epoch in decide if epoch < epochs}), epochs)
