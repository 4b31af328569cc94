"""The protocols of a search: it says what to train next, and for how long, as a pure function of history and seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from src.config.space import Space
from src.study.history import Direction, Goals, History, Proposal, Trial
from src.system.errors import UserError

Point = Mapping[str, Any]  # a value for each parameter, by name


@dataclass(frozen=True)
class Spec:
    """The sweep that a search serves."""

    space: Space
    direction: Direction
    n_trials: int
    epochs: int
    seed: int
    earlier: Sequence[Trial] = ()  # of another study, numbered below 0: a search sees them before anything else
    first: Sequence[Point] = ()  # points to try before any other; they may lack values
    goals: Goals = field(default_factory=Goals)
    measure: Callable[[Point], Mapping[str, float]] = lambda params: {}  # the measures known before training
    schedule: Sequence[tuple[int, Point]] = ()  # for `replay`: until which epoch by which parameters
    proxy: Callable[[Point], float] | None = None  # a score known before training, higher for what promises more
    candidates: int = 1  # points that are drawn for each trial, of which the proxy chooses one

    @property
    def directions(self) -> list[Direction]:
        """The direction of the objective, then of the further objectives."""
        further: list[Direction] = ["minimize" for _ in self.goals.minimized]
        return [self.direction, *further]

    def feasible(self, params: Point) -> bool:
        """Tell whether no measure that is known before training lies above its bound."""
        return not self.goals.bounds or self.goals.allow(self.measure(params))

    def refusal(self, points: Sequence[Point]) -> UserError:
        """The error for a sweep in which none of the `points` that were tried is feasible."""
        measured = [self.measure(params) for params in points]
        least = {name: min(measures.get(name, inf) for measures in measured) for name in self.goals.bounds}
        bounds = [f"{n} ≤ {self.goals.bounds[n]:,.10g} (the least is {v:,.10g})" for n, v in least.items() if v < inf]
        where = f"none of {len(points):,} points of the space is within {' and '.join(bounds)}"
        return UserError(f"objective.constraints: {where}; raise the bound, or lower the ends of the space")


class PointSource(Protocol):
    """A way to draw points: a pure function of the history, the points so far and a seed."""

    def __call__(self, history: History, points: Sequence[Point], seed: int, fixed: Point, /) -> Point:
        """Draw the next point.

        Args:
            history: the study so far.
            points: all points so far: those of earlier studies, those of `history`, then those that are not in it yet.
            seed: of this draw.
            fixed: values that are decided already, by parameter; they replace the source's own, which may ignore them.
        """
        ...


class Search(Protocol):
    """A search strategy, which decides from the history alone, so a killed sweep goes on as if it had not been killed."""

    depends_on_results: bool  # whether points depend on the results so far: then only few may be in flight

    def propose(self, history: History, n: int) -> list[Proposal]:
        """At most `n` proposals; fewer: wait for results."""
        ...

    def done(self, history: History) -> bool:
        """Tell whether nothing is left to train."""
        ...


def refuse_several_objectives(spec: Spec, name: str) -> None:
    """Refuse several objectives to the strategy `name`, which takes only one.

    Raises:
        UserError: there are several.
    """
    if spec.goals.minimized:
        others = "nsga2, tpe, random, qmc or grid"
        raise UserError(f"objective.minimize: search={name} takes one objective; for several choose {others}")


def require_equal_epochs(spec: Spec, name: str) -> None:
    """Refuse trials of different lengths to the strategy `name`, in which all train equally long.

    Raises:
        UserError: `epochs` are searched, or trials may stop early.
    """
    refuse_searched_epochs(
        spec, f"search={name} compares its members after equal epochs", "take it out with space.epochs=null"
    )
    stops = any(leaf.trial.training.early_stopping.patience is not None for _, leaf in spec.space.leaves())
    if stops or spec.space.searches("training.early_stopping.patience"):
        raise UserError(
            f"training.early_stopping.patience: search={name} compares its members after equal epochs and ends them itself; "
            "set training.early_stopping.patience=null"
        )


def refuse_searched_epochs(spec: Spec, why: str, instead: str) -> None:
    """Refuse a search of `epochs` where trials are compared on their way: one may end where another has just begun.

    Args:
        spec: the sweep.
        why: the rule that compares, for the message.
        instead: the advice, for the message.

    Raises:
        UserError: `epochs` is searched.
    """
    if spec.space.searches("epochs"):
        raise UserError(f"space.epochs: {why}, of which these trials have their own number; {instead}")
