"""Priors: where their points fall, that a good one helps and a bad one costs little, and how a config says one."""

import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.components import make
from src.config.dimensions import dimensions
from src.config.space import Dimension, Leaf, Prior, Space
from src.search.points.priors import Priors
from src.search.protocol import Spec
from src.system.errors import UserError
from tests.support.virtual import BASE, EPOCHS, Sweep

LR = FloatDistribution(1e-4, 1.0, log=True)


def space(**found: Dimension) -> Space:
    return Space(Leaf(BASE, found))


def test_the_first_point_is_the_center_and_draws_lie_around_it() -> None:
    """A normal law of the logarithm: 68 % within one standard deviation, which is a tenth of four decades."""
    priors = Priors(space(lr=Dimension("lr", LR, prior=Prior(1e-2, 0.1))))
    assert priors.fixed(0, 0, []) == {"lr": 1e-2}
    drawn = [point["lr"] for seed in range(4000) if (point := priors.fixed(1, seed, []))]
    assert len(drawn) == pytest.approx(4000 * 0.5 * 10 / 11, rel=0.05)
    off = np.abs(np.log10(drawn) + 2)
    assert np.mean(off < 0.4) == pytest.approx(0.683, abs=0.03)
    assert min(drawn) >= 1e-4
    assert max(drawn) <= 1.0


def test_types_and_steps_are_kept() -> None:
    found = {
        "width": Dimension("width", IntDistribution(32, 128, step=32), prior=Prior(64, 0.3)),
        "norm": Dimension("norm", CategoricalDistribution(["a", "b", "c"]), ["a", "b", "c"], Prior("b", 0.3)),
        "p": Dimension("p", FloatDistribution(0.0, 1.0, step=0.25), prior=Prior(0.5, 0.5)),
    }
    drawn = [point for seed in range(2000) if (point := Priors(space(**found)).fixed(1, seed, []))]
    assert {type(point["width"]) for point in drawn} == {int}
    assert {point["width"] for point in drawn} == {32, 64, 96, 128}
    assert {point["p"] for point in drawn} == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert np.mean([point["norm"] == "b" for point in drawn]) == pytest.approx(0.7 + 0.3 / 3, abs=0.03)


def test_it_is_trusted_as_far_as_the_best_points_bear_it_out() -> None:
    priors = Priors(space(lr=Dimension("lr", LR, prior=Prior(1e-2, 0.05))))

    def share(best: float) -> float:
        return sum(bool(priors.fixed(1, seed, [{"lr": best}] * 5)) for seed in range(1000)) / 1000

    assert share(1e-2) > 0.75
    assert share(1.0) < 0.01


def options(name: str) -> dict[str, Any]:
    """A section of conf/search."""
    more = {
        "tpe": {"n_startup_trials": 10, "random_fraction": 0.33, "pruner": "none"},
        "asha": {"eta": 3, "min_epochs": 1},
    }
    return {"name": name} | more.get(name, {"pruner": "none"})


def bowl(center: float, seed: int, name: str = "tpe", n_trials: int = 20) -> float:
    """The best value of a bowl around 0.3 in three dimensions, found with a prior around `center` (nan: none)."""
    prior = None if math.isnan(center) else Prior(center, 0.1)
    found = {n: Dimension(n, FloatDistribution(0.0, 1.0), prior=prior) for n in ("x", "y", "z")}
    made = make("search", options(name), Spec(space(**found), "minimize", n_trials, 1, seed))
    live = Sweep(made, slots=1)
    live.fill()
    while segment := live.timetable.next:
        params = live.history.trials[segment.trial].params
        live.apply(("report", segment.trial, [sum((v - 0.3) ** 2 for v in params.values())] * EPOCHS, "complete"))
        live.fill()
    assert live.history.best
    return live.history.best.values[-1]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_good_guess_helps_and_a_bad_one_costs_little(name: str) -> None:
    """Medians over 20 seeds: after 20 trials with a guess near the best, and after 40 with one far off."""

    def median(center: float, n_trials: int) -> float:
        return float(np.median([bowl(center, seed, name, n_trials) for seed in range(20)]))

    assert median(0.35, 20) < 0.5 * median(math.nan, 20)
    assert median(0.95, 40) < 1.5 * median(math.nan, 30)


@pytest.mark.parametrize("name", ["random", "asha"])
def test_a_bad_guess_is_found_out_by_searches_that_draw_at_random_too(name: str) -> None:
    near = []
    for seed in range(10):
        x = Dimension("x", FloatDistribution(0.0, 1.0), prior=Prior(0.95, 0.05))
        live = Sweep(make("search", options(name), Spec(space(x=x), "minimize", 80, EPOCHS, seed)), slots=1)
        live.fill()
        while segment := live.timetable.next:
            trial = live.history.trials[segment.trial]
            state = "complete" if segment.stop == trial.max_epochs else "paused"
            live.apply(("report", trial.number, [trial.params["x"]] * (segment.stop - segment.start), state))
            live.fill()
        near += [trial.params["x"] > 0.85 for trial in live.history.trials[15:]]
    assert 0.1 < float(np.mean(near)) < 0.19, "chance is 0.15"


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"center": 5.0}, r"prior\.center: 5\.0 is not within"),
        ({"center": "a"}, r"prior\.center: expected a finite number"),
        ({"spread": 0.2}, r"prior\.center: expected a finite number, not None"),
        ({"center": 0.1, "spread": 0}, r"prior\.spread: expected a share"),
        ({"centre": 0.1}, r"prior\.centre: .*did you mean space\.lr\.prior\.center"),
    ],
)
def test_a_prior_that_makes_no_sense_is_refused(entry: Any, word: str) -> None:
    tree = {"lr": {"type": "float", "low": 1e-3, "high": 1.0, "log": True, "prior": entry}}
    with pytest.raises(UserError, match=rf"^space\.lr\.{word}"):
        dimensions(tree, {"lr": 0.1}, lambda key: "", lambda key, value: None)


def test_a_prior_is_part_of_the_space() -> None:
    tree: Any = {
        "lr": {"low": 1e-3, "high": 1.0, "log": True, "prior": 0.1},
        "norm": {"choices": ["a", "b"], "prior": "b"},
    }
    found = dimensions(tree, {"lr": 0.1, "norm": "a"}, lambda key: "", lambda key, value: None)
    assert found["lr"].prior == Prior(0.1, 0.2)
    assert found["norm"].prior == Prior("b", 0.2)
    tree["lr"]["prior"] = {"center": 0.1, "spread": 0.5}
    other = dimensions(tree, {"lr": 0.1, "norm": "a"}, lambda key: "", lambda key, value: None)
    assert space(**found).describe() != space(**other).describe()
