"""What each strategy is for: even points, convergence, branches, and the order of trials that trained differently long."""

from collections.abc import Callable, Mapping
from statistics import mean, median
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats.qmc import discrepancy

from src.config.components import make
from src.config.space import Choice, Dimension, Leaf, Space
from src.search.points import unit_interval
from src.search.proposing.ranking import ranking
from src.search.protocol import Search, Spec
from src.study.history import History, Trial
from src.system.errors import UserError
from tests.support.virtual import BASE, EPOCHS, Sweep, conditional, flat

Objective = Callable[[Mapping[str, Any]], float]
OPTIONS = {
    "random": {},
    "gp": {"n_startup_trials": 8},
    "cmaes": {"population": "auto"},
    "evolution": {"population": 20, "sample": 5},
}


def leaf(prefix: str, count: int) -> Leaf:
    return Leaf(BASE, {f"{prefix}x{k}": Dimension(f"x{k}", FloatDistribution(0.0, 1.0)) for k in range(count)})


def strategy(name: str, space: Space, n_trials: int, seed: int = 0, pruner: str = "none", **options: Any) -> Search:
    section = {"name": name, "pruner": pruner, **OPTIONS.get(name, {}), **options}
    made: Search = make("search", section, Spec(space, "minimize", n_trials, EPOCHS, seed))
    return made


def swept(name: str, space: Space, objective: Objective, n_trials: int, seed: int, pruner: str = "none") -> History:
    """A sweep over curves that are flat, four at a time."""
    live = Sweep(strategy(name, space, n_trials, seed, pruner), slots=4, cost=lambda params: 1.0)
    live.fill()
    while segment := live.timetable.next:
        trial = live.history.trials[segment.trial]
        state = "complete" if segment.stop == trial.max_epochs else "paused"
        live.apply(("report", trial.number, [objective(trial.params)] * (segment.stop - segment.start), state))
        live.fill()
    return live.history


def found(
    name: str, space: Space, objective: Objective, n_trials: int, seeds: int, pruner: str = "none"
) -> list[float]:
    """The best of each sweep."""
    return [
        min(objective(t.params) for t in swept(name, space, objective, n_trials, s, pruner).trials)
        for s in range(seeds)
    ]


# --- the unit interval ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (FloatDistribution(1e-4, 1.0, log=True), {0.0: 1e-4, 0.25: 1e-3, 0.5: 1e-2, 1.0: 1.0}),
        (FloatDistribution(-1.0, 3.0), {0.0: -1.0, 0.5: 1.0, 1.0: 3.0}),
        (FloatDistribution(0.0, 0.3, step=0.1), {0.0: 0.0, 0.3: 0.1, 0.7: 0.2, 1.0: 0.3}),
        (IntDistribution(1, 4), {0.0: 1, 0.24: 1, 0.26: 2, 0.76: 4, 1.0: 4}),
        (IntDistribution(32, 96, step=32), {0.0: 32, 0.32: 32, 0.34: 64, 0.67: 96}),
        (IntDistribution(1, 1000, log=True), {0.0: 1, 1.0: 1000}),
        (CategoricalDistribution(["a", "b", "c"]), {0.0: "a", 0.34: "b", 0.99: "c", 1.0: "c"}),
    ],
)
def test_a_value_is_the_inverse_of_its_place(distribution: Any, expected: dict[float, Any]) -> None:
    for u, value in expected.items():
        assert unit_interval.value(distribution, u) == pytest.approx(value)
        if not isinstance(value, str):
            assert unit_interval.value(distribution, unit_interval.place(distribution, value)) == pytest.approx(value)


# --- qmc -----------------------------------------------------------------------------------------------------------------


def points(name: str, space: Space, n_trials: int, seed: int) -> list[Mapping[str, Any]]:
    return [t.params for t in swept(name, space, lambda params: 0.0, n_trials, seed).trials]


def test_sobol_points_are_more_even_than_random_ones_in_each_branch() -> None:
    space = Space(Choice("net", "net", {"a": leaf("a/", 2), "b": Leaf(BASE, {}), "c": leaf("c/", 4)}))
    for prefix, count in (("a/", 2), ("c/", 4)):
        uneven = {
            name: mean(
                discrepancy([[p[f"{prefix}x{k}"] for k in range(count)] for p in drawn if f"{prefix}x0" in p])
                for drawn in (points(name, space, 192, seed) for seed in range(5))
            )
            for name in ("qmc", "random")
        }
        assert uneven["qmc"] < 0.5 * uneven["random"]


def test_categories_and_choices_of_a_sobol_sequence_come_equally_often() -> None:
    drawn = points("qmc", flat(), 64, 3)
    for name, count in (("batch_size", 5), ("model.width", 3), ("optimizer.momentum", 4)):
        often = [sum(repr(p[name]) == value for p in drawn) for value in {repr(p[name]) for p in drawn}]
        assert len(often) == count
        assert max(often) - min(often) <= 3
    assert sum(p["optimizer"] == "a" for p in points("qmc", conditional(), 64, 0)) == 32


def test_a_longer_sobol_sequence_begins_with_the_shorter() -> None:
    assert points("qmc", conditional(), 40, 1)[:13] == points("qmc", conditional(), 13, 1)


# --- cmaes ---------------------------------------------------------------------------------------------------------------


def ellipsoid(params: Mapping[str, Any]) -> float:
    return sum(1e4 ** (k / (len(params) - 1)) * (v - 0.3) ** 2 for k, v in enumerate(params.values()))


def rosenbrock(params: Mapping[str, Any]) -> float:
    z = 4 * np.array(list(params.values())) - 2
    return float(np.sum(100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2))


@pytest.mark.parametrize("objective", [ellipsoid, rosenbrock])
@pytest.mark.parametrize("count", [5, 10])
def test_cmaes_converges(objective: Objective, count: int) -> None:
    """300 evaluations, the median of 5 seeds."""
    space = Space(leaf("", count))
    assert median(found("cmaes", space, objective, 300, 5)) < 0.15 * median(found("random", space, objective, 300, 5))


def test_cmaes_learns_whole_numbers_and_categories() -> None:
    few = {
        "width": Dimension("model.width", IntDistribution(1, 16)),
        "depth": Dimension("model.depth", IntDistribution(1, 2)),
        "act": Dimension("model.act", CategoricalDistribution(["a", "b", "c"]), ["a", "b", "c"]),
    }
    space = Space(Leaf(BASE, {**leaf("", 2).dimensions, **few}))

    def objective(params: Mapping[str, Any]) -> float:
        near = (params["x0"] - 0.3) ** 2 + (params["x1"] - 0.6) ** 2 + ((params["width"] - 11) / 16) ** 2
        return float(near + (params["act"] != "b") + (params["depth"] != 2))

    for seed in range(3):
        last = [t.params for t in swept("cmaes", space, objective, 200, seed).trials[-40:]]
        assert sum(p["act"] == "b" and p["depth"] == 2 and abs(p["width"] - 11) <= 1 for p in last) > 20


def test_cmaes_refuses_categories_alone() -> None:
    space = Space(Leaf(BASE, {"a": Dimension("a", CategoricalDistribution([1, 2]), [1, 2])}))
    with pytest.raises(UserError, match=r"search: cmaes searches numbers.*use tpe or evolution"):
        strategy("cmaes", space, 10)


# --- branches ------------------------------------------------------------------------------------------------------------


def branched() -> tuple[Space, Objective]:
    """Three branches of 2, 4 and 6 dimensions; the optimum of the last is the best, though not its typical point."""
    floors, bottoms = {"a": 0.3, "b": 0.5, "c": 0.0}, {"a": 0.7, "b": 0.4, "c": 0.3}

    def objective(params: Mapping[str, Any]) -> float:
        net = params["net"]
        return floors[net] + 6 * mean((v - bottoms[net]) ** 2 for n, v in params.items() if n != "net")

    return Space(Choice("net", "net", {"a": leaf("a/", 2), "b": leaf("b/", 4), "c": leaf("c/", 6)})), objective


@pytest.mark.parametrize(("name", "seeds"), [("cmaes", 5), ("evolution", 5), ("gp", 3)])
def test_the_best_branch_is_found_and_searched(name: str, seeds: int) -> None:
    space, objective = branched()
    best, random = (median(found(way, space, objective, 80, seeds)) for way in (name, "random"))
    assert best < min(0.7 * random, 0.29), "a point of branch c"


# --- evolution -----------------------------------------------------------------------------------------------------------


def test_a_child_differs_from_a_parent_in_one_gene_and_from_all_before() -> None:
    drawn = [t.params for t in swept("evolution", flat(), lambda params: params["optimizer.lr"], 60, 0).trials]
    for number in range(24, 60):
        changes = [sum(repr(drawn[number][n]) != repr(p[n]) for n in p) for p in drawn[:number]]
        assert min(changes) == 1


def test_a_mutated_choice_brings_the_dimensions_of_its_branch() -> None:
    space, _ = branched()
    nets = [t.params["net"] for t in swept("evolution", space, lambda params: 0.0, 120, 1).trials[20:]]
    assert set(nets) == {"a", "b", "c"}


def test_a_sample_larger_than_the_population_is_refused() -> None:
    with pytest.raises(UserError, match=r"search\.sample: 9 cannot be drawn from a population of 5; give 2 to 5"):
        strategy("evolution", flat(), 30, population=5, sample=9)


# --- the order of trials -------------------------------------------------------------------------------------------------


def trial(number: int, *values: float, state: Any = "paused") -> Trial:
    return Trial(number, {}, 9, 1.0, 9, state=state, values=list(values))


def test_a_promoted_trial_is_compared_with_its_equals_only() -> None:
    best, good, late, bad = trial(0, 0.1, 0.5, 0.2), trial(1, 0.2, 0.4, 0.1), trial(2, 0.3), trial(3, 0.4, 0.3, 0.0)
    broken, diverged = trial(4, 0.0, state="fail"), trial(5, float("nan"))
    order = ranking([late, diverged, bad, broken, best, good], [1, 3], "minimize")
    assert [t.number for t in order[:4]] == [3, 1, 2, 0]  # places 0, 1 and 3 of the first rung, ordered by the second
    assert {t.number for t in order[4:]} == {4, 5}
    assert [t.number for t in ranking([best, good, late], [1], "maximize")] == [2, 1, 0]


# --- gp ------------------------------------------------------------------------------------------------------------------


def test_the_model_finds_numbers_steps_and_categories_at_once() -> None:
    """60 trials, the median of 3 seeds: a category that matters, one that does not, a log scale, a whole number."""
    space = Space(
        Leaf(
            BASE,
            {
                "lr": Dimension("optimizer.lr", FloatDistribution(1e-5, 1.0, log=True)),
                "depth": Dimension("model.depth", IntDistribution(1, 8)),
                "act": Dimension("model.act", CategoricalDistribution(["a", "b", "c"]), ["a", "b", "c"]),
                "norm": Dimension("model.norm", CategoricalDistribution(["x", "y"]), ["x", "y"]),
            },
        )
    )

    def objective(params: Mapping[str, Any]) -> float:
        return float(abs(np.log10(params["lr"]) + 3) + abs(params["depth"] - 6) / 4 + (params["act"] != "b"))

    assert median(found("gp", space, objective, 60, 3)) < 0.2 * median(found("random", space, objective, 60, 3))


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_the_model_learns_from_trials_of_all_rungs(pruner: str) -> None:
    """What is good at the end is good from the first rung on: most trials end there, and the model knows them all."""
    best = median(found("gp", Space(leaf("", 4)), ellipsoid, 60, 3, pruner))
    assert best < 0.2 * median(found("random", Space(leaf("", 4)), ellipsoid, 60, 3, pruner))


def test_a_point_that_trains_is_not_drawn_again() -> None:
    few = {n: Dimension(n, CategoricalDistribution([0, 1, 2]), [0, 1, 2]) for n in ("x", "y", "z")}
    proposed = [repr(sorted(p.items())) for p in points("gp", Space(Leaf(BASE, few)), 22, 0)]
    assert all(proposed[k] not in proposed[:k] for k in range(14, 22)), "after the random ones the model draws"
