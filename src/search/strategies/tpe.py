"""Tree-structured Parzen estimator (Bergstra et al. 2011)."""

from typing import Annotated

from optuna.samplers import TPESampler
from pydantic import Field

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import fidelity_rule
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.optuna_sampler import OptunaSampler, exploring
from src.search.protocol import Search, Spec


def tpe(
    spec: Spec,
    *,
    n_startup_trials: Annotated[int, Field(ge=0)],
    random_fraction: Annotated[float, Field(ge=0, le=1)],
    pruner: Pruner,
) -> Search:
    """Draw where good trials are dense and bad ones are not.

    Args:
        spec: the sweep.
        n_startup_trials: how many points are random at first.
        random_fraction: the share of the others that is random too, where trials are paused or pruned.
        pruner: the fidelity rule.
    """
    rule = fidelity_rule(pruner, spec)
    fraction = random_fraction if len(rule.rungs) > 1 else 0.0
    sampler = exploring(lambda seed: TPESampler(seed=seed, n_startup_trials=n_startup_trials), fraction)
    return HistorySampler(spec, OptunaSampler(spec, sampler, rule.rungs, depends_on_results=True), rule)
