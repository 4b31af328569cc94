"""Asynchronous successive halving (Li et al. 2020): random points, and the best of each rung go on."""

from typing import Annotated, Literal

from optuna.samplers import RandomSampler
from pydantic import Field

from src.search.fidelity.rule import halving
from src.search.proposing.by_sampler import Sampled
from src.search.protocol import Search, Spec


def asha(
    spec: Spec, *, eta: Annotated[int, Field(ge=2)], min_epochs: Annotated[int, Field(ge=1)] | Literal["auto"]
) -> Search:
    """Of each rung the best 1/`eta` train on, to `eta` times the epochs."""
    rungs = halving(spec, eta=eta, min_epochs=min_epochs, brackets=1)
    return Sampled(spec, lambda seed: RandomSampler(seed=seed), rungs, depends_on_results=False)
