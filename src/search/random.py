"""Random search (Bergstra & Bengio 2012)."""

from optuna.samplers import RandomSampler

from src.search import Search, Spec
from src.search.fidelity import fidelity
from src.search.pruning import Pruner
from src.search.sampled import Sampled


def random(spec: Spec, *, pruner: Pruner) -> Search:
    """Draw every point independently, log-uniform where the space says so."""
    return Sampled(spec, lambda seed: RandomSampler(seed=seed), fidelity(pruner, spec), learns=False)
