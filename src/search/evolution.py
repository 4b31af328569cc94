"""Regularized evolution (Real et al. 2019): the oldest die, and the best of a few have a child with one mutation."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field

from src.errors import UserError
from src.history import History
from src.search import Search, Spec, cube, one_objective
from src.search.drawn import Drawn, Point
from src.search.fidelity import fidelity
from src.search.pruning import Pruner
from src.search.ranked import ranked, results
from src.space import Space

REACH = 0.2  # standard deviation of a mutated number, as a share of its scale
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


def mutated(space: Space, parent: Point, rng: np.random.Generator, reach: float = REACH) -> dict[str, Any]:
    """The parent with another value of one dimension; below a choice that changes, what the parent has not is random."""
    free = [name for name, d in space.distributions(parent).items() if not d.single()]
    changed = free[int(rng.integers(len(free)))] if free else None

    def gene(name: str, distribution: BaseDistribution) -> Any:
        if name == changed:
            return _other(distribution, parent[name], rng, reach)
        return parent[name] if name in parent else cube.value(distribution, rng.random())

    return space.walk(gene)


def _other(distribution: BaseDistribution, value: Any, rng: np.random.Generator, reach: float) -> Any:
    """Another value: any other category, or a number near by on its scale."""
    if isinstance(distribution, CategoricalDistribution):
        others = [c for c in distribution.choices if c != value or type(c) is not type(value)]
        return others[int(rng.integers(len(others)))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step:
        reach = max(reach, distribution.step / (distribution.high - distribution.low))
    found = value
    while found == value:
        u = cube.place(distribution, value) + reach * rng.standard_normal()
        found = cube.value(distribution, 1 - abs(1 - abs(u) % 2))  # reflected at both ends
    return found
