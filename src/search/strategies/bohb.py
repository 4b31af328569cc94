"""BOHB (Falkner et al. 2018): Hyperband's brackets, and a density model of the highest rung that has enough results."""

from typing import Annotated, Literal

from optuna.samplers import TPESampler
from pydantic import Field

from src.search.fidelity.rule import halving
from src.search.proposing.by_sampler import Sampled, exploring
from src.search.protocol import Search, Spec


def bohb(
    spec: Spec,
    *,
    eta: Annotated[int, Field(ge=2)],
    min_epochs: Annotated[int, Field(ge=1)] | Literal["auto"],
    brackets: Annotated[int, Field(ge=1)] | Literal["all"],
    random_fraction: Annotated[float, Field(ge=0, le=1)],
    n_startup_trials: Annotated[int, Field(ge=0)],
) -> Search:
    """Of the points `random_fraction` are random, the others drawn where good trials are dense, bad ones not (TPE)."""

    rungs = halving(spec, eta=eta, min_epochs=min_epochs, brackets=brackets)
    model = exploring(lambda seed: TPESampler(seed=seed, n_startup_trials=n_startup_trials), random_fraction)
    return Sampled(spec, model, rungs, depends_on_results=True)
