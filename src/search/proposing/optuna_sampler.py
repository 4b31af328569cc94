"""Optuna's samplers as a source of points: each is made anew and shown the history as a study in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Self

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from src.search.proposing.observations import Observation, observations
from src.search.protocol import Point, Spec
from src.study.history import History, Trial

optuna.logging.set_verbosity(optuna.logging.WARNING)  # studies in memory come and go with every proposal


class OptunaSampler:
    """A `PointSource` of an Optuna sampler, whose only state is the history."""

    def __init__(
        self,
        spec: Spec,
        sampler: Callable[[int], BaseSampler],
        rungs: Sequence[int],
        depends_on_results: bool = False,
    ) -> None:
        """Adapt a sampler.

        Args:
            spec: the sweep.
            sampler: makes a sampler from a seed.
            rungs: epochs at which trials report; the sampler sees the highest with enough values.
            depends_on_results: whether the sampler is shown results at all.
        """
        self.spec, self.sampler, self.rungs, self.depends_on_results = spec, sampler, rungs, depends_on_results
        self._shown: dict[int, ShownTrial] = {}

    def __call__(self, history: History, points: Sequence[Point], seed: int, fixed: Point, /) -> Point:
        """The sampler's next point; a value that is fixed is taken, and the others are drawn given it."""
        study = self._study(history, points) if self.depends_on_results else _empty_study(self.spec)
        study.sampler = self.sampler(seed)
        if fixed:
            study.enqueue_trial(dict(fixed))
        return self.spec.space.walk(_suggest(study.ask()))

    def _study(self, history: History, points: Sequence[Point]) -> optuna.Study:
        """The study that the sampler sees: `history`, and the feasible points that are not in it yet, as in training."""
        study = _empty_study(self.spec)
        seen = observations(self.spec, self.rungs, history)
        for trial in map(self._show, seen):
            study._storage.create_new_trial(study._study_id, trial)
        for point in filter(self.spec.feasible, points[len(seen) :]):
            distributions = self.spec.space.distributions(point)
            study.add_trial(create_trial(state=TrialState.RUNNING, params=dict(point), distributions=distributions))
        return study

    def _show(self, observation: Observation) -> "ShownTrial":
        """A trial for the study, the same object as before while nothing of it has changed."""
        trial, figures = observation.trial, observation.figures
        hidden = TrialState.RUNNING if trial.state in ("running", "paused") else TrialState.FAIL
        state = TrialState.COMPLETE if figures else hidden
        shown = self._shown.get(trial.number)
        if shown is None or shown.source is not trial or (shown.state, shown.figures) != (state, figures):
            same = shown is not None and shown.source is trial
            distributions = shown.distributions if shown and same else self.spec.space.distributions(trial.params)
            shown = ShownTrial.of(trial, distributions, state, figures, len(self.spec.directions))
            self._shown[trial.number] = shown
        return shown


class ShownTrial(FrozenTrial):
    """A trial that no one changes, so that a storage need not copy it."""

    source: Trial
    figures: tuple[float, ...]

    @classmethod
    def of(
        cls,
        trial: Trial,
        distributions: dict[str, BaseDistribution],
        state: TrialState,
        figures: tuple[float, ...],
        objectives: int,
    ) -> Self:
        """Show a trial in Optuna's form.

        Args:
            trial: the trial of our history.
            distributions: of its parameters, by name.
            state: the state that the sampler shall see.
            figures: objectives, then excesses over the bounds; empty for a trial without results.
            objectives: how many of the figures are objectives.
        """
        began = datetime.min
        shown = cls(
            number=trial.number,
            state=state,
            value=None,
            datetime_start=began,
            datetime_complete=began if state.is_finished() else None,
            params=dict(trial.params),
            distributions=distributions,
            user_attrs={},
            system_attrs={f"constraints:{k}": excess for k, excess in enumerate(figures[objectives:])},
            intermediate_values={},
            trial_id=trial.number,
            values=figures[:objectives] or None,
        )
        shown.source, shown.figures = trial, figures
        return shown

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def exploring(sampler: Callable[[int], BaseSampler], fraction: float) -> Callable[[int], BaseSampler]:
    """Mix a sampler with random points, of which there is a `fraction`: results after few epochs mislead a model."""

    def mixed(seed: int) -> BaseSampler:
        return RandomSampler(seed=seed) if np.random.default_rng(seed).random() < fraction else sampler(seed)

    return mixed


def _empty_study(spec: Spec) -> optuna.Study:
    return optuna.create_study(directions=spec.directions)


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
