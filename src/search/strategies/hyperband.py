"""Hyperband (Li et al. 2018): random points in brackets of successive halving that begin at different rungs."""

from typing import Annotated, Literal

from optuna.samplers import RandomSampler
from pydantic import Field

from src.search.fidelity.rule import halving
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.optuna_sampler import OptunaSampler
from src.search.protocol import Search, Spec


def hyperband(
    spec: Spec,
    *,
    eta: Annotated[int, Field(ge=2)],
    min_epochs: Annotated[int, Field(ge=1)] | Literal["auto"],
    brackets: Annotated[int, Field(ge=1)] | Literal["all"],
) -> Search:
    """Spend about the same budget on every bracket: on many trials with few epochs at first, or on few with many.

    Args:
        spec: the sweep.
        eta: the best 1/`eta` of each rung go on.
        min_epochs: the lowest rung is at or above these epochs.
        brackets: how many brackets there are.
    """
    rule = halving(spec, eta=eta, min_epochs=min_epochs, brackets=brackets)
    source = OptunaSampler(spec, lambda seed: RandomSampler(seed=seed), rule.rungs)
    return HistorySampler(spec, source, rule, depends_on_results=False)
