"""Terminators: a study stops when little is left to gain, says why, and comes to the same end however often it is killed."""

from collections.abc import Mapping
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from src.config.space import Dimension, Leaf, Space
from src.search.proposing.terminator import Terminated, terminated
from src.search.protocol import Search, Spec
from src.search.strategies.pbt import pbt
from src.search.strategies.tpe import tpe
from src.system.errors import UserError
from tests.support.virtual import BASE, EPOCHS, Sweep, flat

BOWL = Space(Leaf(BASE, {n: Dimension(n, FloatDistribution(-1.0, 1.0)) for n in ("x", "y")}))
SPEC = Spec(BOWL, "minimize", 200, EPOCHS, 0)


def bowl(params: Mapping[str, Any], epoch: int) -> float:
    return float(sum(value**2 for value in params.values()) + 1 / epoch)


def search(terminator: Any, pruner: str = "none") -> Search:
    return terminated(tpe(SPEC, n_startup_trials=10, random_fraction=0.33, pruner=pruner), SPEC, terminator)


@pytest.mark.parametrize("pruner", ["none", "asha"])
@pytest.mark.parametrize(
    "terminator",
    [
        {"name": "stagnation", "min_trials": 15},
        {"name": "regret", "threshold": 0.3, "min_trials": 20},
        {"name": "emmr", "threshold": 0.05, "min_trials": 20},
    ],
)
def test_it_stops_early_for_a_reason(terminator: Any, pruner: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.support.virtual.objective", bowl)
    live = Sweep(search(terminator, pruner)).run()
    assert isinstance(live.search, Terminated)
    assert len(live.history.trials) < 200
    assert live.search.done(live.history)
    assert {t.state for t in live.history.trials} <= {"complete", "pruned"}
    reason = live.search.reason(live.history)
    assert reason
    assert len(live.history.trials) >= terminator["min_trials"]
    if terminator["name"] == "stagnation":
        assert "none of the last 15 trials" in reason

    for count in range(len(live.ops) - 12, len(live.ops) + 1):
        again = live.rebuilt(search(terminator, pruner), count)
        again.run()
        assert again.ops == live.ops
        assert again.search.reason(again.history) == reason  # type: ignore[attr-defined]


def test_what_still_gains_goes_on(monkeypatch: Any) -> None:
    """Every trial is better than the one before."""
    monkeypatch.setattr("tests.support.virtual.objective", lambda params, epoch: 0.0)
    live = Sweep(search({"name": "stagnation", "min_trials": 15}), slots=1)
    live.fill()
    while segment := live.timetable.next:
        live.apply(("report", segment.trial, [-float(segment.trial)] * EPOCHS, "complete"))
        live.fill()
    assert len(live.history.trials) == 200


def test_no_terminator_is_the_search_itself() -> None:
    assert not isinstance(search("none"), Terminated)


def test_members_that_end_together_are_not_stopped_before() -> None:
    spec = Spec(flat(), "minimize", 8, EPOCHS, 0)
    with pytest.raises(UserError, match=r"^search\.terminator: .*pbt"):
        terminated(pbt(spec, interval=None, quantile=0.25, factor=1.2, resample=0.25), spec, "stagnation")


@pytest.mark.parametrize(
    ("terminator", "word"),
    [
        ("regrets", r"search\.terminator\.name: .*'regret'"),
        ({"name": "regret", "threshold": 0}, r"search\.terminator\.threshold: .*greater than 0"),
        ({"name": "regret", "trials": 5}, r"search\.terminator\.trials: "),
    ],
)
def test_what_is_none_is_refused(terminator: Any, word: str) -> None:
    with pytest.raises(UserError, match=word):
        search(terminator)
