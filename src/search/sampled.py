"""A search that draws its points with an Optuna sampler and ends trials with an Optuna pruner."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from src.history import History, Proposal, Trial
from src.search import Spec
from src.search.pruning import Pruner, Pruning

ENOUGH = 10  # values that a rung needs before the sampler looks at it


class Sampled:
    """Each point comes from a sampler made anew, seeded by (study seed, trial number): no state but the history."""

    def __init__(self, spec: Spec, sampler: Callable[[int], BaseSampler], pruner: Pruner, learns: bool) -> None:
        """`sampler(seed)` makes one. `learns`: whether its points depend on results."""
        self.spec, self.sampler = spec, sampler
        self.pruning = Pruning(pruner, spec.space, spec.direction, spec.epochs)
        self.samples_learn = learns
        self.learns = learns or len(self.pruning.rungs) > 1

    def propose(self, history: History, n: int) -> list[Proposal]:
        pruned = self.pruning.pruned(history)
        proposals = [
            Proposal(t.params, t.epochs if t.number in pruned else self.pruning.next_rung(t.epochs), t.number)
            for t in history.of("paused")
        ]
        count = min(n - len(proposals), self.spec.n_trials - len(history.trials))
        if count > 0:
            study = self._view(history)
            for number in range(len(history.trials), len(history.trials) + count):
                study.sampler = self.sampler(_seed(self.spec.seed, number))
                params = self.spec.space.walk(_suggest(study.ask()))
                proposals.append(Proposal(params, self.pruning.next_rung(0)))
        return proposals[:n]

    def done(self, history: History) -> bool:
        return len(history.trials) >= self.spec.n_trials and not any(history.of("running", "paused"))

    def _view(self, history: History) -> optuna.Study:
        """What the sampler sees: the highest rung with enough values as if it were the end, and the trials in training.

        A diverged trial counts as bad as the worst.
        """
        study = optuna.create_study(direction=self.spec.direction)
        if not self.samples_learn:
            return study
        rung = _rung(self.pruning.rungs, history.trials)
        seen = {t.number: v for t in history.trials if (v := _at(t, rung)) is not None}
        worst = (max if history.direction == "minimize" else min)(seen.values(), default=None)
        for trial in history.trials:
            value = worst if trial.state == "fail" else seen.get(trial.number)
            if value is None and trial.state not in ("running", "paused"):
                continue
            study.add_trial(
                create_trial(
                    state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
                    value=value,
                    params=dict(trial.params),
                    distributions=self.spec.space.distributions(trial.params),
                )
            )
        return study


def _rung(rungs: Sequence[int], trials: Sequence[Trial]) -> int:
    full = [r for r in rungs if sum(_at(t, r) is not None for t in trials) >= ENOUGH]
    return full[-1] if full else rungs[0]


def _at(trial: Trial, epochs: int) -> float | None:
    """The trial's value after so many epochs, if it came that far."""
    if trial.state == "fail" or trial.epochs < epochs:
        return None
    value = trial.values[epochs - 1]
    return value if math.isfinite(value) else None


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _suggest(trial: optuna.Trial) -> Callable[[str, BaseDistribution], Any]:
    def suggest(name: str, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, FloatDistribution):
            d = distribution
            return trial.suggest_float(name, d.low, d.high, step=d.step, log=d.log)
        if isinstance(distribution, IntDistribution):
            i = distribution
            return trial.suggest_int(name, i.low, i.high, step=i.step, log=i.log)
        assert isinstance(distribution, CategoricalDistribution)
        return trial.suggest_categorical(name, distribution.choices)

    return suggest
