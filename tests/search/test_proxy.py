"""A proxy chooses between the candidates of a trial, in every search that draws points."""

from dataclasses import replace

import pytest

from src.config.components import make
from src.search.proposing.proxy import proxy_options, require_candidates
from src.search.protocol import Point, Spec
from src.system.errors import UserError
from tests.support.virtual import EPOCHS, Sweep, flat

RANDOM = {"name": "random", "pruner": "none"}


def width(params: Point) -> float:
    return float(params["model.width"])


def widths(candidates: int, seed: int = 0) -> list[float]:
    spec = Spec(flat(True), "minimize", 30, EPOCHS, seed)
    chosen = replace(spec, proxy=width, candidates=candidates) if candidates > 1 else spec
    return [width(trial.params) for trial in Sweep(make("search", RANDOM, chosen)).run().history.trials]


def test_the_candidate_of_the_highest_score_is_trained() -> None:
    assert sum(widths(10)) > 1.2 * sum(widths(1))
    assert widths(10) == widths(10) != widths(10, seed=1)


def test_a_killed_sweep_goes_on_with_the_same_points() -> None:
    def make_one() -> object:
        spec = Spec(flat(True), "minimize", 12, EPOCHS, 0, proxy=width, candidates=5)
        return make("search", {"name": "evolution", "population": 4, "sample": 2, "pruner": "none"}, spec)

    live = Sweep(make_one()).run()
    for count in range(0, len(live.ops), 3):
        again = live.rebuilt(make_one(), count)
        again.fill()
        assert again.ops == live.ops[: len(again.ops)]


def test_a_search_whose_points_stand_beforehand_is_refused() -> None:
    spec = Spec(flat(True), "minimize", 4, EPOCHS, 0)
    with pytest.raises(UserError, match=r"search\.proxy: search=qmc draws no candidates"):
        require_candidates(make("search", {"name": "qmc", "pruner": "none"}, spec), "qmc")
    require_candidates(make("search", RANDOM, spec), "random")


def test_options_are_checked() -> None:
    assert proxy_options("none") is None
    assert proxy_options({"name": "naswot", "candidates": 3}).candidates == 3  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"search\.proxy\.candidates: input should be greater than or equal to 2"):
        proxy_options({"name": "naswot", "candidates": 1})
    with pytest.raises(UserError, match=r"search\.proxy\.candidate"):
        proxy_options({"name": "naswot", "candidate": 3})
