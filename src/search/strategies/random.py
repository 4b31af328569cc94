"""Random search (Bergstra & Bengio 2012)."""

from optuna.samplers import RandomSampler

from src.search.fidelity.pruning import Pruner
from src.search.fidelity.rule import fidelity
from src.search.proposing.by_sampler import Sampled
from src.search.protocol import Search, Spec


def random(spec: Spec, *, pruner: Pruner) -> Search:
    """Draw every point independently, log-uniform where the space says so."""
    return Sampled(spec, lambda seed: RandomSampler(seed=seed), fidelity(pruner, spec), depends_on_results=False)
