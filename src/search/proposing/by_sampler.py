"""A search that draws its points with an Optuna sampler and ends trials with an Optuna pruner."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Self

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from src.search.fidelity.rule import Fidelity
from src.search.points.priors import Priors
from src.search.protocol import Spec
from src.study.history import History, Proposal, Trial

ENOUGH = 10  # values that a rung needs before the sampler looks at it
GUIDED, TRIES = 20, 1000  # draws for a feasible point: of the sampler, and in all


class Sampled:
    """Each point comes from a sampler made anew, seeded by (study seed, trial number): no state but the history."""

    def __init__(
        self, spec: Spec, sampler: Callable[[int], BaseSampler], fidelity: Fidelity, depends_on_results: bool
    ) -> None:
        """`sampler(seed)` makes one, `fidelity` says who goes on. `depends_on_results`: whether points do."""
        self.spec, self.sampler, self.fidelity = spec, sampler, fidelity
        self.sampler_depends_on_results = depends_on_results
        self.depends_on_results = depends_on_results or len(fidelity.rungs) > 1
        self.priors = Priors(spec.space)
        self._seen: dict[int, tuple[Trial, Seen]] = {}

    def propose(self, history: History, n: int) -> list[Proposal]:
        if ends := self.fidelity.ends(history):
            return ends[:n]
        proposals = self.fidelity.promotions(history)
        count = min(n - len(proposals), self.spec.n_trials - history.trials_from_scratch)
        if count > 0:
            study = self._view(history)
            first = len(history.trials) + sum(proposal.trial is None for proposal in proposals)
            for number, founder in enumerate(
                range(history.trials_from_scratch, history.trials_from_scratch + count), start=first
            ):
                proposals.append(Proposal(self._point(study, number, founder), self.fidelity.first(number)))
        return proposals[:n]

    def done(self, history: History) -> bool:
        going = any(history.of("running", "paused")) or self.fidelity.promotions(history)
        return history.trials_from_scratch >= self.spec.n_trials and not going

    def _fixed(self, study: optuna.Study, number: int) -> dict[str, Any]:
        """What the sampler is not asked: the points of an earlier study first, then what a prior decides."""
        if number < len(self.spec.first):
            return dict(self.spec.first[number])
        known = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]) if self.priors.names else []
        sign = 1 if self.spec.direction == "minimize" else -1
        best = sorted((t for t in known if t.values), key=lambda t: (sign * t.values[0], t.number))
        return self.priors.fixed(number - len(self.spec.first), self.spec.seed, [t.params for t in best])

    def _point(self, study: optuna.Study, number: int, founder: int) -> dict[str, Any]:
        """What the sampler draws; while that is not feasible, it is asked again with another seed, in the end at random.

        Raises:
            UserError: no feasible point was found.
        """
        drawn: list[dict[str, Any]] = []
        for retry in range(TRIES):
            seed = _seed(self.spec.seed, number, *[retry] * (retry > 0))
            study.sampler = self.sampler(seed) if len(drawn) < GUIDED else RandomSampler(seed=seed)
            if not drawn and (fixed := self._fixed(study, founder)):
                study.enqueue_trial(fixed)
            trial = study.ask()
            params = self.spec.space.walk(_suggest(trial))
            if self.spec.feasible(params):
                return params
            study.tell(trial, state=TrialState.FAIL)  # out of the sampler's sight
            drawn.append(params)
        raise self.spec.refusal(drawn)

    def _view(self, history: History) -> optuna.Study:
        """What the sampler sees: the highest rung with enough values as if it were the end, and the trials in training.

        A diverged trial counts as bad as the worst in everything; one that ended below the rung is out of sight.
        """
        study = optuna.create_study(directions=self.spec.directions)
        if not (self.sampler_depends_on_results or self.priors.names):
            return study
        trials = [*self.spec.earlier, *history.trials]
        rung = _rung(self.fidelity.rungs, trials)
        wanted = set(self.spec.goals.measures)  # one that goes on in another's place has values, but measures later
        known = [trial for trial in trials if wanted <= trial.measures.keys()]
        reached = {t.number: self._figures(t, v) for t in known if (v := _at(t, rung)) is not None}
        worst = tuple(
            max(column) if number or history.direction == "minimize" else min(column)
            for number, column in enumerate(zip(*reached.values(), strict=True))
        )
        for trial in trials:
            figures = worst if trial.state == "fail" else reached.get(trial.number, ())
            hidden = TrialState.RUNNING if trial.state in ("running", "paused") else TrialState.FAIL
            state = TrialState.COMPLETE if figures else hidden
            study._storage.create_new_trial(study._study_id, self._frozen(trial, state, figures))
        return study

    def _figures(self, trial: Trial, value: float) -> tuple[float, ...]:
        """All objectives, and how far the measures that have a bound lie above it."""
        goals = self.spec.goals
        return (value, *(trial.measures[n] for n in goals.minimized), *goals.excess(trial.measures).values())

    def _frozen(self, trial: Trial, state: TrialState, figures: tuple[float, ...]) -> "Seen":
        """A trial for the view, kept for the next while nothing of it changes."""
        known, frozen = self._seen.get(trial.number, (None, None))
        if frozen is None or known is not trial or (frozen.state, frozen.figures) != (state, figures):
            before = frozen.distributions if frozen is not None and known is trial else None
            distributions = before or self.spec.space.distributions(trial.params)
            frozen = Seen.of(trial, distributions, state, figures, len(self.spec.directions))
            self._seen[trial.number] = (trial, frozen)
        return frozen


def exploring(sampler: Callable[[int], BaseSampler], fraction: float) -> Callable[[int], BaseSampler]:
    """The sampler, but a fraction of the points at random: what is good after few epochs misleads a model."""

    def mixed(seed: int) -> BaseSampler:
        return RandomSampler(seed=seed) if np.random.default_rng(seed).random() < fraction else sampler(seed)

    return mixed


class Seen(FrozenTrial):
    """A trial that no one changes, so that a storage need not copy it."""

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
        """Of the `figures` the first so many are `objectives`, the others constraints."""
        params, began = dict(trial.params), datetime.min
        over = began if state.is_finished() else None
        attributes = {f"constraints:{k}": excess for k, excess in enumerate(figures[objectives:])}
        values = figures[:objectives] or None
        seen = cls(
            trial.number,
            state,
            None,
            began,
            over,
            params,
            distributions,
            {},
            attributes,
            {},
            trial.number,
            values=values,
        )
        seen.figures = figures
        return seen

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _rung(rungs: Sequence[int], trials: Sequence[Trial]) -> int:
    for rung in reversed(rungs):
        if len(list(islice((t for t in trials if _at(t, rung) is not None), ENOUGH))) == ENOUGH:
            return rung
    return rungs[0]


def _at(trial: Trial, epochs: int) -> float | None:
    """The trial's value after so many epochs, if it came that far or was complete before."""
    if trial.state == "fail" or (trial.epochs < epochs and trial.state != "complete"):
        return None
    value = trial.values[min(epochs, trial.epochs) - 1]
    return value if math.isfinite(value) else None


def _seed(seed: int, *place: int) -> int:
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0])


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
