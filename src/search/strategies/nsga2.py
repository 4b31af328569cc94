"""NSGA-II (Deb et al. 2002) in its steady state (Durillo et al. 2009): each point has the best of all before as parents."""

from typing import Annotated

from optuna import Study
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from src.search.fidelity.pruning import Pruner
from src.search.fidelity.rule import fidelity
from src.search.proposing.by_sampler import Sampled
from src.search.protocol import Search, Spec
from src.system.errors import UserError


def nsga2(spec: Spec, *, population_size: Annotated[int, Field(ge=2)], pruner: Pruner) -> Search:
    """Cross and mutate the `population_size` trials of best rank and least crowded; so many are random at first.

    Raises:
        UserError: there is one objective only.
    """
    if not spec.goals.minimized:
        raise UserError(
            "search: nsga2 is for several objectives; name them, as in objectives=[val/error,parameters], or use tpe"
        )
    return Sampled(
        spec,
        lambda seed: SteadyState(seed=seed, population_size=population_size),
        fidelity(pruner, spec),
        depends_on_results=True,
    )


class SteadyState(NSGAIISampler):
    """Without Optuna's generations, whose bookkeeping is state that the history does not have; no worse (docs/search.md)."""

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """0: at random; 1: a child."""
        assert self.population_size
        return int(len(_complete(study)) >= self.population_size)

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The elite of all trials so far."""
        return self._elite_population_selection_strategy(study, _complete(study)) if generation else []


def _complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
