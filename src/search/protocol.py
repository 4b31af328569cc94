"""Strategies, one a file: what to train next, and for how long, as a pure function of the history and the seed.

To add one: a function `name(spec, *, ...)` in `name.py` that returns a `Search`, and `conf/search/name.yaml`. Its keyword
arguments are its schema.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

import optuna

from src.config.space import Space
from src.study.history import Direction, Goals, History, Proposal, Trial
from src.system.errors import UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)  # studies in memory come and go with every proposal


@dataclass(frozen=True)
class Spec:
    """The sweep that a search serves."""

    space: Space
    direction: Direction
    n_trials: int
    epochs: int
    seed: int
    earlier: Sequence[Trial] = ()  # of another study, numbered below 0: what samplers see before anything else
    first: Sequence[Mapping[str, Any]] = ()  # points to try before any other
    goals: Goals = field(default_factory=Goals)
    measure: Callable[[Mapping[str, Any]], Mapping[str, float]] = lambda params: {}  # what is known before training
    schedule: Sequence[tuple[int, Mapping[str, Any]]] = ()  # of `replay`: until which epoch by which parameters

    @property
    def directions(self) -> list[Direction]:
        """Of the objective, and of those beside it."""
        further: list[Direction] = ["minimize" for _ in self.goals.minimized]
        return [self.direction, *further]

    def feasible(self, params: Mapping[str, Any]) -> bool:
        """Whether nothing that is known of a point before it trains is above its bound."""
        return not self.goals.bounds or self.goals.allow(self.measure(params))

    def refusal(self, points: Sequence[Mapping[str, Any]]) -> UserError:
        """What to say when none of the points that were tried is feasible."""
        known = [self.measure(params) for params in points]
        least = {name: min(measures.get(name, inf) for measures in known) for name in self.goals.bounds}
        bounds = [f"{n} ≤ {self.goals.bounds[n]:,.10g} (the least is {v:,.10g})" for n, v in least.items() if v < inf]
        where = f"none of {len(points):,} points of the space is within {' and '.join(bounds)}"
        return UserError(f"constraints: {where}; raise the bound, or lower the ends of the space")


def one_objective(spec: Spec, name: str) -> None:
    """Refuse several objectives to a strategy that knows only one.

    Raises:
        UserError: there are several.
    """
    if spec.goals.minimized:
        others = "nsga2, tpe, random, qmc or grid"
        raise UserError(f"objectives: search={name} takes one objective; for several choose {others}")


def equal_epochs(spec: Spec, name: str) -> None:
    """Refuse trials that end at epochs of their own to a strategy by which all train equally long.

    Raises:
        UserError: they do.
    """
    own_epochs(spec, f"search={name} compares its members after equal epochs", "take it out with space.epochs=null")
    stops = [leaf.config.get("early_stopping", {}).get("patience") is not None for _, leaf in spec.space.leaves()]
    if any(stops) or spec.space.searches("early_stopping.patience"):
        raise UserError(
            f"early_stopping.patience: search={name} compares its members after equal epochs and ends them itself; "
            "set early_stopping.patience=null"
        )


def own_epochs(spec: Spec, why: str, instead: str) -> None:
    """Refuse a search of `epochs` to who compares trials on their way: one that is over stands beside one that has begun.

    Raises:
        UserError: they are searched.
    """
    if spec.space.searches("epochs"):
        raise UserError(f"space.epochs: {why}, of which these trials have their own number; {instead}")


class Search(Protocol):
    """Decides from the history alone, so that a killed sweep goes on as if nothing had been."""

    depends_on_results: bool  # whether points depend on the results so far: then only few may be in flight

    def propose(self, history: History, n: int) -> list[Proposal]:
        """At most `n` proposals; fewer: wait for results."""
        ...

    def done(self, history: History) -> bool:
        """Whether nothing is left to train."""
        ...


Point = Mapping[str, Any]
