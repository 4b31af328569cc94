"""Regularized evolution (Real et al. 2019): the oldest die, and the best of a few have a child with one mutation."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from src.search.fidelity.pruning import Pruner
from src.search.fidelity.rule import fidelity
from src.search.points import unit_interval as cube
from src.search.points.mutation import mutated
from src.search.proposing.by_history import Drawn
from src.search.proposing.ranking import ranked, results
from src.search.protocol import Point, Search, Spec, one_objective
from src.study.history import History
from src.system.errors import UserError

TRIES = 100  # for a child that has not been tried yet


def evolution(
    spec: Spec, *, population: Annotated[int, Field(ge=2)], sample: Annotated[int, Field(ge=2)], pruner: Pruner
) -> Search:
    """Of the last `population` results draw `sample`, and change one dimension or choice of the best of them.

    Raises:
        UserError: the sample is larger than the population.
    """
    one_objective(spec, "evolution")
    if sample > population:
        raise UserError(
            f"search.sample: {sample} cannot be drawn from a population of {population}; give 2 to {population}"
        )
    rule = fidelity(pruner, spec)

    def draw(history: History, points: Sequence[Point], seed: int) -> Point:
        rng = np.random.default_rng(seed)
        alive = results([*spec.earlier, *history.trials], rule)[-population:]
        if len(alive) < population:
            return spec.space.walk(lambda _, distribution: cube.value(distribution, rng.random()))
        drawn = [alive[k] for k in sorted(rng.choice(population, sample, replace=False))]
        parent = ranked(drawn, rule.rungs, spec.direction)[0].params
        for _ in range(TRIES):
            child = mutated(spec.space, parent, rng)
            if child not in points:
                break
        return child

    return Drawn(spec, draw, rule)
