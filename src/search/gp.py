"""Bayesian optimization with a Gaussian process and expected improvement, by Optuna's GPSampler: one model a branch."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field

from src.search import Search, Spec, one_objective
from src.search.branches import Branches
from src.search.drawn import Whole
from src.search.fidelity import fidelity
from src.search.pruning import Pruner
from src.search.sampled import Sampled
from src.space import Leaf

# It misses greenlet, with which 300 trials take as long (measured).
logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)

PENDING = 8  # trials without a result that the model counts with; each makes its answer slower


def gp(spec: Spec, *, n_startup_trials: Annotated[int, Field(ge=1)], pruner: Pruner) -> Search:
    """Draw where the model expects the largest improvement; the first `n_startup_trials` of each branch are random."""
    one_objective(spec, "gp")
    branches = Branches(spec.space)

    def sampler(seed: int) -> BaseSampler:
        def draw(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
            done = [t for t in trials if t.state == TrialState.COMPLETE]
            best_first = sorted(done, key=lambda t: t.values[0], reverse=spec.direction == "maximize")
            drawn = branches.draw([branches.of(t.params) for t in best_first], np.random.default_rng(seed))
            running = [t for t in trials if t.state == TrialState.RUNNING][-PENDING:]
            own = [t for t in [*done, *running] if branches.of(t.params) == drawn]
            model = GPSampler(seed=seed, n_startup_trials=n_startup_trials, warn_independent_sampling=False)
            return _inside(branches.leaves[drawn], own, optuna.create_study(direction=spec.direction, sampler=model))

        return Whole(spec.space, draw, seed)

    return Sampled(spec, sampler, fidelity(pruner, spec), learns=True)


def _inside(branch: tuple[dict[str, str], Leaf], trials: Sequence[FrozenTrial], study: optuna.Study) -> dict[str, Any]:
    """A point of the branch from the sampler of `study`, which is shown its trials without their choices."""
    chosen, leaf = branch
    distributions = {name: dimension.distribution for name, dimension in leaf.dimensions.items()}
    for t in trials:
        params = {name: t.params[name] for name in distributions}
        study.add_trial(create_trial(state=t.state, values=t.values, params=params, distributions=distributions))
    return {**chosen, **study.ask(distributions).params}
