"""A trial whose own curve has diverged ends with the reason; no other does."""

import math
from typing import Any

import pytest
from running import Place, end_all
from test_sweep import check_tracking, prepared  # noqa: F401
from virtual import BASE, EPOCHS, Sweep, flat, objective

from src.components import make
from src.history import History, Proposal
from src.search import Spec
from src.search.diagnosed import Diagnosed, divergence
from src.search.fidelity import fidelity
from src.space import Leaf, Space


@pytest.mark.parametrize(
    ("values", "minimized", "maximized"),
    [
        ([0.5, 0.4, 0.3], "", "diverged: 0.3 after epoch 3, worse than 0.5 after the first"),
        ([0.3, 0.1, 0.4], "diverged: 0.4 after epoch 3, worse than 0.3 after the first", ""),
        ([0.5, 0.9, 0.5], "", ""),
        ([0.5], "", ""),
        ([0.5, math.nan], "diverged: nan after epoch 2", "diverged: nan after epoch 2"),
        ([-math.inf], "diverged: -inf after epoch 1", "diverged: -inf after epoch 1"),
    ],
)
def test_the_rule(values: list[float], minimized: str, maximized: str) -> None:
    assert divergence(values, "minimize") == minimized
    assert divergence(values, "maximize") == maximized


@pytest.mark.parametrize(("epochs", "rungs"), [(1, [1]), (3, [1, 2, 3]), (20, [*range(2, 21, 2)])])
def test_it_looks_at_every_tenth(epochs: int, rungs: list[int]) -> None:
    assert fidelity("diagnosis", Spec(flat(), "minimize", 9, epochs, 0)).rungs == rungs


def test_ends_carry_their_reason_and_the_others_go_on() -> None:
    spec = Spec(Space(Leaf(BASE, {})), "minimize", 9, 20, 0)
    rule, history = Diagnosed(spec), History("minimize")
    for number, values in enumerate(([0.5, 0.4], [0.5, 0.6], [0.5, 0.5])):
        history.start(Proposal({}, rule.first(number)), 20, 1.0)
        history.report(number, values, "paused")
    (end,) = rule.ends(history)
    assert (end.trial, end.epochs, end.reason) == (1, 2, "diverged: 0.6 after epoch 2, worse than 0.5 after the first")
    history.report(1, [], "pruned", end.reason)
    assert rule.ends(history) == []
    assert [(p.trial, p.epochs) for p in rule.promotions(history)] == [(0, 4), (2, 4)]


def test_who_rises_ends_at_the_first_look_and_nobody_else(monkeypatch: Any) -> None:
    """Half of the curves rise from the second epoch on."""

    def rises(params: Any) -> bool:
        return bool(params["optimizer.lr"] > 3e-3)

    def curve(params: Any, epoch: int) -> float:
        return objective(params, 1) + epoch if rises(params) else objective(params, epoch)

    monkeypatch.setattr("virtual.objective", curve)
    spec = Spec(flat(), "minimize", 40, EPOCHS, 0)
    live = Sweep(make("search", {"name": "random", "pruner": "diagnosis"}, (), spec)).run()
    assert {(t.state, t.epochs) for t in live.history.trials if rises(t.params)} == {("pruned", 2)}
    assert {(t.state, t.epochs) for t in live.history.trials if not rises(t.params)} == {("complete", EPOCHS)}


@pytest.mark.slow
def test_the_reason_stands_in_the_table_and_in_mlflow(tmp_path: Any, prepared: Any) -> None:  # noqa: F811
    """Rates so high that some nets unlearn."""
    place = Place(tmp_path / "place", prepared)
    words = ("optimizer=sgd", "schedule=constant", "space.optimizer.lr.low=0.5", "space.optimizer.lr.high=50")
    try:
        place.run(*words, "search=random", "search.pruner=diagnosis", "n_trials=12", "epochs=6", "model.norm=none")
        check_tracking(place)
        reasons = {row["number"]: row["diagnosis"] for row in place.rows() if row["state"] == "pruned"}
        assert reasons
        assert all(reason.startswith("diverged: ") for reason in reasons.values())
        shown = place.query(
            "SELECT a.value, b.value FROM tags a JOIN tags b USING (run_uuid) "
            "WHERE a.key = 'lockstep.trial' AND b.key = 'lockstep.diagnosis' AND b.value LIKE 'diverged: %'"
        )
        assert dict(shown) == reasons
    finally:
        end_all()
