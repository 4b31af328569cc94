"""Regularized evolution (Real et al. 2019): the oldest die, and the best of a few have a child with one mutation."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import fidelity_rule
from src.search.points.mutation import mutated, random_point
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.ranking import ranking, results
from src.search.protocol import Point, Search, Spec, refuse_several_objectives
from src.study.history import History
from src.system.errors import UserError

TRIES = 100  # for a child that has not been tried yet


def evolution(
    spec: Spec, *, population: Annotated[int, Field(ge=2)], sample: Annotated[int, Field(ge=2)], pruner: Pruner
) -> Search:
    """Draw a few of the last results and change one dimension or choice of the best of them.

    Args:
        spec: the sweep.
        population: how many results are alive.
        sample: how many of these are drawn.
        pruner: the fidelity rule.

    Raises:
        UserError: the sample is larger than the population.
    """
    refuse_several_objectives(spec, "evolution")
    if sample > population:
        raise UserError(
            f"search.sample: {sample} cannot be drawn from a population of {population}; give 2 to {population}"
        )
    rule = fidelity_rule(pruner, spec)

    def source(history: History, points: Sequence[Point], seed: int, fixed: Point, /) -> Point:
        rng = np.random.default_rng(seed)
        alive = results([*spec.earlier, *history.trials], rule)[-population:]
        if len(alive) < population:
            return random_point(spec.space, rng)
        rivals = [alive[k] for k in sorted(rng.choice(population, sample, replace=False))]
        parent = ranking(rivals, rule.rungs, spec.direction)[0].params
        for _ in range(TRIES):
            child = mutated(spec.space, parent, rng)
            if child not in points:
                break
        return child

    return HistorySampler(spec, source, rule)
