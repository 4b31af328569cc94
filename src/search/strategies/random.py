"""Random search (Bergstra & Bengio 2012)."""

from optuna.samplers import RandomSampler

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import fidelity_rule
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.optuna_sampler import OptunaSampler
from src.search.protocol import Search, Spec


def random(spec: Spec, *, pruner: Pruner) -> Search:
    """Draw every point independently, log-uniform where the space says so."""
    rule = fidelity_rule(pruner, spec)
    source = OptunaSampler(spec, lambda seed: RandomSampler(seed=seed), rule.rungs)
    return HistorySampler(spec, source, rule, depends_on_results=False)
