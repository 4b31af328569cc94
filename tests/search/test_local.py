"""Local search and the policy gradient on spaces whose answers are known."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.components import make
from src.config.space import Dimension, Leaf, Space
from src.search.points.descents import Descents
from src.search.points.mutation import neighbours
from src.search.protocol import Spec
from src.study.history import History
from tests.support.virtual import BASE, Sweep, conditional

CELL = Space(Leaf(BASE, {f"edge{k}": Dimension(f"edge{k}", CategoricalDistribution(list("abcde"))) for k in range(4)}))
NUMBERS = Space(
    Leaf(
        BASE,
        {
            "rate": Dimension("rate", FloatDistribution(1e-4, 1.0, log=True)),
            "depth": Dimension("depth", IntDistribution(1, 4)),
            "width": Dimension("width", IntDistribution(32, 128, step=32)),
        },
    )
)
LOCAL = {"name": "local", "n_startup_trials": 3, "pruner": "none"}
REINFORCE = {"name": "reinforce", "rate": 0.2, "entropy": 0.05, "baseline": 0.9, "pruner": "none"}


def searched(
    options: dict[str, Any],
    space: Space,
    value: Callable[[Mapping[str, Any]], float],
    n: int,
    seed: int = 0,
    slots: int = 1,
) -> History:
    live = Sweep(make("search", options, Spec(space, "minimize", n, 1, seed)), slots=slots)
    live.fill()
    while segment := live.timetable.next:
        live.apply(("report", segment.trial, [value(live.history.trials[segment.trial].params)], "complete"))
        live.fill()
    return live.history


def mismatches(params: Mapping[str, Any]) -> float:
    return float(sum(params[f"edge{k}"] != "abcd"[k] for k in range(4)))


@pytest.mark.parametrize("slots", [1, 4])
def test_a_descent_without_other_optima_ends_at_the_best(slots: int) -> None:
    """From any start at most 4 steps of 16 neighbours; then another descent starts."""
    for seed in range(5):
        values = [trial.values[0] for trial in searched(LOCAL, CELL, mismatches, 70, seed, slots).trials]
        assert min(values) == 0


def test_each_point_is_a_neighbour_of_the_best_until_all_are_tried() -> None:
    trials = searched(LOCAL, CELL, mismatches, 60).trials
    tried: list[Mapping[str, Any]] = []
    for trial in trials[:3]:
        tried.append(trial.params)
    for trial in trials[3:]:
        best = min(tried, key=mismatches)
        near = [p for p in neighbours(CELL, best, np.random.default_rng(0)) if p not in tried]
        if mismatches(best) == 0 and not near:
            assert not any(Descents.adjacent(trial.params, point) for point in tried), "a new start"
            break
        assert trial.params in near
        tried.append(trial.params)
    else:
        pytest.fail("the local optimum was not left")


def test_nothing_is_tried_twice_before_the_space_is_used_up() -> None:
    for options in (LOCAL, REINFORCE):
        space = Space(
            Leaf(BASE, {f"edge{k}": Dimension(f"edge{k}", CategoricalDistribution(list("abc"))) for k in range(3)})
        )
        trials = searched(options, space, lambda p: float(p["edge0"] != "b"), 20).trials
        assert len({tuple(t.params.values()) for t in trials}) == 20


def test_neighbours_differ_in_one_thing_and_are_within_bounds() -> None:
    rng = np.random.default_rng(0)
    point = {"rate": 1e-2, "depth": 1, "width": 64}
    near = neighbours(NUMBERS, point, rng)
    assert {p["depth"] for p in near} == {1, 2}, "at the end there is one side"
    assert {p["width"] for p in near} >= {32, 64, 96}
    assert len({p["rate"] for p in near}) == 7
    for other in near:
        assert Descents.adjacent(point, other)
        assert 1e-4 <= other["rate"] <= 1.0
    assert len(near) == len({tuple(p.values()) for p in near})


def test_neighbours_by_a_choice_have_what_lies_below_it() -> None:
    space, rng = conditional(True), np.random.default_rng(0)
    start = space.walk(lambda _, d: _first(d))
    changed = [p for p in neighbours(space, start, rng) if p.keys() != start.keys()]
    assert changed
    for point in changed:
        assert space.distributions(point).keys() == point.keys()


def _first(distribution: Any) -> Any:
    return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low


def test_a_number_is_approached_from_far_off() -> None:
    def bowl(p: Mapping[str, Any]) -> float:
        return float((np.log10(p["rate"]) + 1.7) ** 2 + (p["depth"] - 3) ** 2 + ((p["width"] - 96) / 32) ** 2)

    for seed in range(3):
        assert min(t.values[0] for t in searched(LOCAL, NUMBERS, bowl, 60, seed).trials) < 0.05


def test_the_policy_comes_to_prefer_what_is_rewarded() -> None:
    """Without repeats: the cell without a mismatch and the 16 with one are used up on the way."""
    chance = np.mean([mismatches({f"edge{k}": e for k, e in enumerate(edges)}) for edges in product("abcde", repeat=4)])
    assert chance == pytest.approx(3.2)
    for seed in range(3):
        values = [t.values[0] for t in searched(REINFORCE, CELL, mismatches, 100, seed, slots=4).trials]
        assert np.mean(values[-20:]) < 2.5 < np.mean(values[:20])
        assert min(values) == 0
