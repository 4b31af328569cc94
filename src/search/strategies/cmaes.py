"""CMA-ES with margin for whole numbers and categories (CatCMAwM: Hamano et al. 2025), one distribution a branch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from cmaes import CatCMAwM
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field

from src.config.space import Leaf
from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import Fidelity, fidelity_rule
from src.search.points.branches import Branches
from src.search.points.unit_interval import place, value
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.ranking import has_result, ranking, results
from src.search.protocol import Point, Search, Spec, refuse_several_objectives
from src.study.history import History, Reported, Trial
from src.system.errors import UserError

Population = Annotated[int, Field(ge=4)] | Literal["auto"]

LEVELS = 64  # a number of more values than these is taken for continuous
SIGMA = 2.0  # the first standard deviation is a sixth of the range (CatCMAwM's own is a twelfth)
TRIES = 100  # for a point within all ranges


def cmaes(spec: Spec, *, population: Population, pruner: Pruner) -> Search:
    """Draw from a normal distribution that moves with every `population` results to where the best of them are.

    Args:
        spec: the sweep.
        population: results for a step of the distribution; `auto` grows with the dimensions.
        pruner: the fidelity rule.

    Raises:
        UserError: there is no number to search.
    """
    refuse_several_objectives(spec, "cmaes")
    distributions = [d.distribution for _, leaf in spec.space.leaves() for d in leaf.dimensions.values()]
    if distributions and all(isinstance(d, CategoricalDistribution) for d in distributions):
        raise UserError("search: cmaes searches numbers, and this space has categories alone; use tpe or evolution")
    rule = fidelity_rule(pruner, spec)
    return HistorySampler(spec, CmaesSource(spec, rule, population), rule)


class CmaesSource:
    """A `PointSource` with a distribution a branch, each brought up to date by reading the events of a history."""

    def __init__(self, spec: Spec, rule: Fidelity, population: Population) -> None:
        """Begin the distributions of the sweep `spec`; `rule` says which trials have results, `population` is a step."""
        self.spec, self.rule, self.population = spec, rule, population
        self.branches = Branches(spec.space)
        self._begin(History(spec.direction))

    def __call__(self, history: History, points: Sequence[Point], seed: int, fixed: Point, /) -> Point:
        """Draw a branch, then a point from its distribution."""
        self._read_on(history)
        trials = results([*self.spec.earlier, *history.trials], self.rule)
        best_first = ranking(trials, self.rule.rungs, self.spec.direction)
        leaves = [self.branches.index(trial.params) for trial in best_first]
        leaf = self.branches.draw(leaves, np.random.default_rng(seed))
        return {**self.branches.leaves[leaf][0], **self._distributions[leaf].ask(seed)}

    def _begin(self, history: History) -> None:
        self._history, self._read = history, 0
        self._distributions = [Distribution(leaf, self.population) for _, leaf in self.branches.leaves]
        self._waiting: list[dict[int, Trial]] = [
            {} for _ in self.branches.leaves
        ]  # results that moved no distribution yet
        self._observed: set[int] = set()  # trials that moved one
        for trial in self.spec.earlier:
            self._report(trial)

    def _read_on(self, history: History) -> None:
        if history is not self._history:
            self._begin(history)
        for event in history.events[self._read :]:
            trial = history.trials[event.trial]
            if isinstance(event, Reported) and event.trial not in self._observed:
                self._report(replace(trial, values=trial.values[: event.epochs], state=event.state))
        self._read = len(history.events)

    def _report(self, trial: Trial) -> None:
        """Take a result. As soon as a branch has a population of results its distribution moves."""
        leaf = self.branches.index(trial.params)
        waiting, distribution = self._waiting[leaf], self._distributions[leaf]
        if has_result(trial, self.rule):
            waiting[trial.number] = trial
        if waiting and len(waiting) == distribution.population:
            distribution.move([t.params for t in ranking(waiting.values(), self.rule.rungs, self.spec.direction)])
            self._observed |= waiting.keys()
            waiting.clear()


class Distribution:
    """A normal distribution over the dimensions of one leaf, each number from 0 to 1 on its scale."""

    def __init__(self, leaf: Leaf, population: Population) -> None:
        self.all = {name: d.distribution for name, d in leaf.dimensions.items()}
        few = {name: values for name, d in self.all.items() if (values := _values(d)) and len(values) > 1}
        self.continuous = [name for name, d in self.all.items() if name not in few and not d.single()]
        self.categories = {
            n: v for n, v in few.items() if len(v) == 2 or isinstance(self.all[n], CategoricalDistribution)
        }
        self.steps = {n: [place(self.all[n], x) for x in v] for n, v in few.items() if n not in self.categories}
        self.cma = None
        if self.continuous or few:
            self.cma = CatCMAwM(
                x_space=[[0.0, 1.0]] * len(self.continuous) or None,
                z_space=list(self.steps.values()) or None,
                c_space=[len(values) for values in self.categories.values()] or None,
                population_size=None if population == "auto" else population,
                sigma=SIGMA,
            )

    @property
    def population(self) -> int:
        """The number of results that make a step of the distribution; 0 where there is nothing to search."""
        return self.cma.population_size if self.cma else 0

    def ask(self, seed: int) -> dict[str, Any]:
        """Draw a point of the leaf, again while a number is outside of its range."""
        params = {name: value(d, 0.0) for name, d in self.all.items()}
        if self.cma is None:
            return params
        self.cma.reseed_rng(seed)
        for _ in range(TRIES):
            solution = self.cma.ask()
            if all(0 < u < 1 for u in _or_empty(solution.x)):
                break
        places = dict(
            zip([*self.continuous, *self.steps], [*_or_empty(solution.x), *_or_empty(solution.z)], strict=True)
        )
        params |= {name: value(self.all[name], float(u)) for name, u in places.items()}
        return params | {
            n: v[int(np.argmax(c))] for (n, v), c in zip(self.categories.items(), _or_empty(solution.c), strict=True)
        }

    def move(self, best_first: Sequence[Point]) -> None:
        """Move to where the first of the points are; only their order counts."""
        assert self.cma
        self.cma.tell([(self._solution(point), rank) for rank, point in enumerate(best_first)])

    def _solution(self, point: Point) -> CatCMAwM.Solution:
        x = np.array([place(self.all[name], point[name]) for name in self.continuous])
        z = np.array([_nearest(places, place(self.all[name], point[name])) for name, places in self.steps.items()])
        c = np.zeros((len(self.categories), max(map(len, self.categories.values()), default=0)), dtype=bool)
        for row, (name, values) in zip(c, self.categories.items(), strict=True):
            row[values.index(point[name])] = True
        return CatCMAwM.Solution(x, z, c, np.concatenate([x, z]))


def _or_empty(values: Any) -> Any:
    return () if values is None else values


def _nearest(places: Sequence[float], u: float) -> float:
    return min(places, key=lambda other: abs(other - u))


def _values(d: BaseDistribution) -> Sequence[Any]:
    """The values of a dimension that has few; none of a continuous one."""
    if isinstance(d, CategoricalDistribution):
        return d.choices
    assert isinstance(d, FloatDistribution | IntDistribution)
    if d.step and (d.high - d.low) / d.step < LEVELS:
        return [min(d.low + k * d.step, d.high) for k in range(1 + round((d.high - d.low) / d.step))]
    return []
