"""Optuna's pruners over our history: when a trial reports, it goes on or ends."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState, create_trial

from src.errors import UserError
from src.history import History, Reported
from src.space import Space

Pruner = str | dict[str, Any]
OWN_NAMES = {"none": "NopPruner", "asha": "SuccessiveHalvingPruner"}


class Pruning:
    """A pruner's verdicts, found by replaying the history through Optuna's own class: the same events, the same verdicts."""

    def __init__(self, pruner: Pruner, space: Space, direction: str, epochs: int) -> None:
        """`pruner` is a name (`none`, `asha`, `median`, ... any of Optuna's), or a mapping of `name` and its arguments.

        Raises:
            UserError: there is no such pruner, or it takes no such argument.
        """
        options = {"name": pruner} if isinstance(pruner, str) else dict(pruner)
        name = options.pop("name", None)
        self.pruner = _make(name, options, epochs)
        self.rungs = _rungs(self.pruner, epochs)
        self._space = space
        self._study = optuna.create_study(direction=direction, pruner=self.pruner)
        self._ids: list[int] = []
        self._read = 0
        self._pruned: set[int] = set()

    def next_rung(self, epochs: int) -> int:
        """The epochs at which a trial with so many reports next."""
        return next(rung for rung in self.rungs if rung > epochs)

    def pruned(self, history: History) -> set[int]:
        """The paused trials that are to end."""
        for event in history.events[self._read :]:
            if isinstance(event, Reported) and event.state != "running":
                self._replay(history, event)
        self._read = len(history.events)
        return self._pruned

    def _replay(self, history: History, event: Reported) -> None:
        trial, storage = history.trials[event.trial], self._study._storage
        while len(self._ids) <= event.trial:
            params = dict(history.trials[len(self._ids)].params)
            distributions = self._space.distributions(params)
            template = create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
            self._ids.append(storage.create_new_trial(self._study._study_id, template))
        number = self._ids[event.trial]
        for epoch in range(len(storage.get_trial(number).intermediate_values) + 1, event.epochs + 1):
            storage.set_trial_intermediate_value(number, epoch, trial.values[epoch - 1])
        if event.state == "paused":
            if self.pruner.prune(self._study, storage.get_trial(number)):
                self._pruned.add(event.trial)
        elif event.state == "complete":
            storage.set_trial_state_values(number, TrialState.COMPLETE, [trial.values[event.epochs - 1]])
        else:
            storage.set_trial_state_values(number, TrialState.PRUNED if event.state == "pruned" else TrialState.FAIL)


def _make(name: Any, options: Mapping[str, Any], epochs: int) -> BasePruner:
    classes = {n: c for n, c in vars(optuna.pruners).items() if inspect.isclass(c) and issubclass(c, BasePruner)}
    wanted = OWN_NAMES.get(name, f"{name}Pruner").replace("_", "").lower()
    found = [c for n, c in classes.items() if n.lower() == wanted]
    if not found:
        names = sorted({*OWN_NAMES, *(n.removesuffix("Pruner").lower() for n in classes if n != "BasePruner")})
        raise UserError(f"search.pruner: {name!r} is none of {', '.join(names)}")
    if name == "asha":
        options = {"min_resource": max(1, epochs // 5), "reduction_factor": 2, **options}
    if name == "median":
        options = {"interval_steps": max(1, epochs // 10), "n_warmup_steps": epochs // 10, **options}
    try:
        return found[0](**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.pruner: {found[0].__name__} does not take this ({error})") from error


def _rungs(pruner: BasePruner, epochs: int) -> Sequence[int]:
    """The epochs at which the pruner can decide anything, and the last."""
    if isinstance(pruner, NopPruner):
        return (epochs,)
    if isinstance(pruner, SuccessiveHalvingPruner) and isinstance(pruner._min_resource, int):
        first = pruner._min_resource * pruner._reduction_factor**pruner._min_early_stopping_rate
        powers = range(epochs.bit_length())
        return (*(r for k in powers if (r := first * pruner._reduction_factor**k) < epochs), epochs)
    interval = getattr(pruner, "_interval_steps", 1)
    first = max(1, getattr(pruner, "_n_warmup_steps", 0))
    return (*range(first, epochs, interval), epochs)
