"""BOHB (Falkner et al. 2018): Hyperband's brackets, and a density model of the highest rung that has enough results."""

from typing import Annotated, Literal

from optuna.samplers import TPESampler
from pydantic import Field

from src.search.fidelity.rule import halving
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.optuna_sampler import OptunaSampler, exploring
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
    """Draw points where good trials are dense and bad ones are not (TPE), in the brackets of Hyperband.

    Args:
        spec: the sweep.
        eta: the best 1/`eta` of each rung go on.
        min_epochs: the lowest rung is at or above these epochs.
        brackets: how many brackets there are.
        random_fraction: the share of points that are random instead.
        n_startup_trials: how many results the model needs.
    """
    rule = halving(spec, eta=eta, min_epochs=min_epochs, brackets=brackets)
    model = exploring(lambda seed: TPESampler(seed=seed, n_startup_trials=n_startup_trials), random_fraction)
    return HistorySampler(spec, OptunaSampler(spec, model, rule.rungs, depends_on_results=True), rule)
