"""Tree-structured Parzen estimator (Bergstra et al. 2011)."""

from typing import Annotated

from optuna.samplers import TPESampler
from pydantic import Field

from src.search.fidelity.pruning import Pruner
from src.search.fidelity.rule import fidelity
from src.search.proposing.by_sampler import Sampled, exploring
from src.search.protocol import Search, Spec


def tpe(
    spec: Spec,
    *,
    n_startup_trials: Annotated[int, Field(ge=0)],
    random_fraction: Annotated[float, Field(ge=0, le=1)],
    pruner: Pruner,
) -> Search:
    """Draw where good trials are dense and bad ones are not; the first `n_startup_trials` are random.

    Where trials are paused or pruned, `random_fraction` of the others is random too.
    """
    who = fidelity(pruner, spec)
    fraction = random_fraction if len(who.rungs) > 1 else 0.0
    return Sampled(
        spec,
        exploring(lambda seed: TPESampler(seed=seed, n_startup_trials=n_startup_trials), fraction),
        who,
        depends_on_results=True,
    )
