"""Asynchronous successive halving (Li et al. 2020): random points, and the best of each rung go on."""

from typing import Annotated, Literal

from optuna.samplers import RandomSampler
from pydantic import Field

from src.search.fidelity.rule import halving
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.optuna_sampler import OptunaSampler
from src.search.protocol import Search, Spec


def asha(
    spec: Spec, *, eta: Annotated[int, Field(ge=2)], min_epochs: Annotated[int, Field(ge=1)] | Literal["auto"]
) -> Search:
    """Train random points to the lowest rung, and promote the best of each rung to the next without waiting for the others.

    Args:
        spec: the sweep.
        eta: the best 1/`eta` of a rung go on, to `eta` times the epochs.
        min_epochs: the lowest rung is at or above these epochs.
    """
    rule = halving(spec, eta=eta, min_epochs=min_epochs, brackets=1)
    source = OptunaSampler(spec, lambda seed: RandomSampler(seed=seed), rule.rungs)
    return HistorySampler(spec, source, rule, depends_on_results=False)
