"""NSGA-II (Deb et al. 2002) in its steady state (Durillo et al. 2009): each point has the best of all before as parents."""

from typing import Annotated

from optuna import Study
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import fidelity_rule
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.optuna_sampler import OptunaSampler
from src.search.protocol import Search, Spec
from src.system.errors import UserError


def nsga2(spec: Spec, *, population_size: Annotated[int, Field(ge=2)], pruner: Pruner) -> Search:
    """Cross and mutate the best trials by rank, and of one rank the least crowded.

    Args:
        spec: the sweep, of several objectives.
        population_size: how many trials may be parents; so many points are random at first.
        pruner: the fidelity rule.

    Raises:
        UserError: there is one objective only.
    """
    if not spec.goals.minimized:
        raise UserError(
            "search: nsga2 is for several objectives; name them, as in objective.minimize=[val/error,parameters], or use tpe"
        )
    rule = fidelity_rule(pruner, spec)

    def sampler(seed: int) -> SteadyState:
        return SteadyState(seed=seed, population_size=population_size)

    return HistorySampler(spec, OptunaSampler(spec, sampler, rule.rungs, depends_on_results=True), rule)


class SteadyState(NSGAIISampler):
    """NSGA-II without Optuna's generations, whose bookkeeping is state that a history does not have (docs/search.md)."""

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """1 for a child, 0 for a random point."""
        assert self.population_size
        return int(len(_complete(study)) >= self.population_size)

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The elite of all complete trials so far, for a child."""
        return self._elite_population_selection_strategy(study, _complete(study)) if generation else []


def _complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
