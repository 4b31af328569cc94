"""Tree-structured Parzen estimator (Bergstra et al. 2011)."""

from optuna.samplers import TPESampler

from src.search import Search, Spec
from src.search.fidelity import fidelity
from src.search.pruning import Pruner
from src.search.sampled import Sampled


def tpe(spec: Spec, *, n_startup_trials: int, pruner: Pruner) -> Search:
    """Draw where good trials are dense and bad ones are not; the first `n_startup_trials` are random."""
    return Sampled(
        spec, lambda seed: TPESampler(seed=seed, n_startup_trials=n_startup_trials), fidelity(pruner, spec), learns=True
    )
