"""Hyperband (Li et al. 2018): random points in brackets of successive halving that begin at different rungs."""

from typing import Annotated, Literal

from optuna.samplers import RandomSampler
from pydantic import Field

from src.search.fidelity.rule import halving
from src.search.proposing.by_sampler import Sampled
from src.search.protocol import Search, Spec


def hyperband(
    spec: Spec,
    *,
    eta: Annotated[int, Field(ge=2)],
    min_epochs: Annotated[int, Field(ge=1)] | Literal["auto"],
    brackets: Annotated[int, Field(ge=1)] | Literal["all"],
) -> Search:
    """Every bracket has about the same budget: many trials with few epochs at first, or few with many."""
    rungs = halving(spec, eta=eta, min_epochs=min_epochs, brackets=brackets)
    return Sampled(spec, lambda seed: RandomSampler(seed=seed), rungs, depends_on_results=False)
