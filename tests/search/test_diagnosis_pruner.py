"""A trial whose own curve has diverged ends with the reason; no other does."""

import math
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from src.config.components import make
from src.config.space import Dimension, Leaf, Space
from src.diagnosis.rules import KINDS
from src.search.fidelity.diagnosis_pruner import DiagnosisPruner, divergence
from src.search.fidelity.rule import fidelity_rule
from src.search.protocol import Spec
from src.study.history import Goals, History, Proposal
from src.system.reason import Reason
from tests.support.running import Place, end_all
from tests.support.sweeps import check_tracking
from tests.support.virtual import BASE, EPOCHS, Sweep, flat, objective


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
    assert divergence(values, "minimize").text == minimized
    assert divergence(values, "maximize").text == maximized


@pytest.mark.parametrize(("epochs", "rungs"), [(1, [1]), (3, [1, 2, 3]), (20, [*range(2, 21, 2)])])
def test_it_looks_at_every_tenth(epochs: int, rungs: list[int]) -> None:
    assert fidelity_rule("diagnosis", Spec(flat(), "minimize", 9, epochs, 0)).rungs == rungs


def test_ends_carry_their_reason_and_the_others_go_on() -> None:
    spec = Spec(Space(Leaf(BASE, {})), "minimize", 9, 20, 0)
    rule, history = DiagnosisPruner(spec), History("minimize")
    for number, values in enumerate(([0.5, 0.4], [0.5, 0.6], [0.5, 0.5])):
        history.start(Proposal({}, rule.first(number)), 20, 1.0)
        history.report(number, values, "paused")
    (end,) = rule.ends(history)
    assert (end.trial, end.epochs, end.reason.text) == (
        1,
        2,
        "diverged: 0.6 after epoch 2, worse than 0.5 after the first",
    )
    history.report(1, [], "pruned", end.reason)
    assert rule.ends(history) == []
    assert [(p.trial, p.epochs) for p in rule.promotions(history)] == [(0, 4), (2, 4)]


SEARCHED = Space(Leaf(BASE, {"optimizer.lr": Dimension("optimizer.lr", FloatDistribution(1e-3, 1.0, log=True), ())}))
SLOW = [2.3 - 0.005 * epoch for epoch in range(20)]
JUMPING = [1.0 + 0.3 * (-1) ** epoch for epoch in range(20)]
FALLING = [2.0 - 0.05 * epoch for epoch in range(20)]
GOOD = [2.0 * 0.7**epoch + 0.2 for epoch in range(20)]


def seen(
    rule: DiagnosisPruner, losses: list[list[float]], rates: list[float] | None = None, lr: float = 0.1
) -> History:
    """A history in which a first trial is complete and each of the others is paused after so many epochs."""
    history = History("minimize")
    for number, curve in enumerate([GOOD, *losses]):
        trial = history.start(Proposal({"optimizer.lr": lr}, rule.first(number)), 20, 1.0)
        trial.curves |= {"val/loss": curve, "train/loss": curve, "lr": (rates or [lr] * 20)[: len(curve)]}
        history.report(number, curve, "complete" if curve is GOOD else "paused")
    return history


def follow(rule: DiagnosisPruner, history: History) -> list[Proposal]:
    """End what ends, as the loop does, and what is proposed then."""
    for end in rule.ends(history):
        history.report(end.trial or 0, [], "pruned", end.reason)
    return rule.promotions(history)


def test_who_is_too_slow_ends_but_not_while_its_rate_still_rises() -> None:
    rule = DiagnosisPruner(Spec(SEARCHED, "minimize", 9, 20, 0))
    (end,) = rule.ends(seen(rule, [SLOW[:6], GOOD[:6]]))
    assert (end.trial, end.epochs) == (1, 6)
    assert end.reason.text.startswith("too slow: the loss has fallen from 2.3 to 2.27")
    rising = [0.1 * (epoch + 1) / 20 for epoch in range(20)]
    assert rule.ends(seen(DiagnosisPruner(rule.spec), [SLOW[:6]], rising)) == []


def test_who_is_unstable_goes_on_once_with_a_lower_rate() -> None:
    rule = DiagnosisPruner(Spec(SEARCHED, "minimize", 9, 20, 0))
    history = seen(rule, [JUMPING[:8]])
    (child,) = follow(rule, history)
    assert history.trials[1].reason.text.startswith("unstable: the loss jumps by")
    assert history.trials[1].reason.text.endswith("goes on as another trial with optimizer.lr 0.03")
    assert (child.trial, child.start_from, child.epochs, child.max_epochs) == (None, (1, 8), 10, None)
    assert child.params == {"optimizer.lr": pytest.approx(0.03)}
    trial = history.start(child, 20, 1.0)
    trial.curves |= {"val/loss": JUMPING[:10], "train/loss": JUMPING[:10]}
    history.report(trial.number, JUMPING[8:10], "paused")
    assert rule.ends(history) == []
    assert [(p.trial, p.epochs) for p in rule.promotions(history)] == [(trial.number, 12)]


@pytest.mark.parametrize(("space", "lr"), [(Space(Leaf(BASE, {})), 0.1), (SEARCHED, 1e-3)])
def test_a_fixed_rate_and_one_at_its_end_stay(space: Space, lr: float) -> None:
    rule = DiagnosisPruner(Spec(space, "minimize", 9, 20, 0))
    assert rule.ends(seen(rule, [JUMPING[:8]], lr=lr)) == []


def test_who_may_still_pass_the_best_gets_half_as_many_epochs_again() -> None:
    rule = DiagnosisPruner(Spec(SEARCHED, "minimize", 9, 20, 0))
    fast = [2.0 - 0.09 * epoch for epoch in range(18)]
    slow = [2.0 - 0.04 * epoch for epoch in range(18)]
    history = seen(rule, [fast, slow, fast[:16]])
    child, *others = follow(rule, history)
    assert history.trials[1].reason.text.endswith("goes on as another trial to 30 epochs")
    assert (child.start_from, child.epochs, child.max_epochs) == ((1, 18), 30, 30)
    assert [p.trial for p in others] == [2, 3]
    history.start(child, 30, 1.0)
    assert history.trials[-1].target == 30
    assert all(proposal.trial is not None for proposal in rule.promotions(history)), "nobody is followed twice"


def test_who_rises_ends_at_the_first_look_and_nobody_else(monkeypatch: Any) -> None:
    """Half of the curves rise from the second epoch on."""

    def rises(params: Any) -> bool:
        return bool(params["optimizer.lr"] > 3e-3)

    def curve(params: Any, epoch: int) -> float:
        return objective(params, 1) + epoch if rises(params) else objective(params, epoch)

    monkeypatch.setattr("tests.support.virtual.objective", curve)
    spec = Spec(flat(), "minimize", 40, EPOCHS, 0)
    live = Sweep(make("search", {"name": "random", "pruner": "diagnosis"}, spec)).run()
    assert {(t.state, t.epochs) for t in live.history.trials if rises(t.params)} == {("pruned", 2)}
    assert {(t.state, t.epochs) for t in live.history.trials if not rises(t.params)} == {("complete", EPOCHS)}


@pytest.mark.parametrize("name", ["tpe", "gp", "nsga2"])
def test_one_that_goes_on_for_another_has_no_measures_yet(name: str) -> None:
    goals = Goals(("latency_ms",), {}) if name == "nsga2" else Goals((), {"val/loss": 0.5})
    options = {"tpe": {"n_startup_trials": 2, "random_fraction": 0.0}, "gp": {"n_startup_trials": 2}, "nsga2": {}}
    section = {"name": name, "pruner": "diagnosis", **({"population_size": 4} if name == "nsga2" else options[name])}
    search = make("search", section, Spec(SEARCHED, "maximize", 30, 20, 0, goals=goals))
    history = History("maximize", goals=goals)
    for number in range(12):
        history.start(Proposal({"optimizer.lr": 0.01 * (number + 1)}, 2), 20, 1.0)
        history.report(number, [0.5, 0.6], "paused", measures={"val/loss": 0.7, "latency_ms": 1.0})
    history.report(0, [], "pruned", Reason("unstable", "it goes on with a lower rate"))
    successor, *_ = search.propose(history, 1)
    assert successor.start_from == (0, 2)
    history.start(successor, 20, 1.0)
    assert all(0.001 <= p.params["optimizer.lr"] <= 1 for p in search.propose(history, 14))


@pytest.mark.parametrize("name", ["random", "qmc"])
def test_a_sweep_is_not_over_while_one_is_to_go_on_for_another(name: str) -> None:
    spec, history = Spec(SEARCHED, "maximize", 1, 20, 0), History("maximize")
    search = make("search", {"name": name, "pruner": "diagnosis"}, spec)
    history.start(Proposal({"optimizer.lr": 0.5}, 2), 20, 1.0)
    history.report(0, [0.5, 0.6], "paused")
    history.report(0, [], "pruned", Reason("unstable", "it goes on with a lower rate"))
    assert not search.done(history)
    (successor,) = search.propose(history, 4)
    history.start(successor, 20, 1.0)
    history.report(1, [0.7] * 18, "complete")
    assert search.done(history)


@pytest.mark.slow
def test_the_reason_stands_in_the_table_and_in_mlflow(tmp_path: Any, prepared: Any) -> None:
    """Rates so high that some nets unlearn."""
    place = Place(tmp_path / "place", prepared)
    words = ("optimizer=sgd", "schedule=constant", "space.optimizer.lr.low=0.5", "space.optimizer.lr.high=50")
    try:
        place.run(*words, "search=random", "search.pruner=diagnosis", "n_trials=12", "epochs=6", "model.norm=none")
        check_tracking(place)
        said = {row["number"]: row["diagnosis"] for row in place.rows()}
        assert any(text.startswith("diverged: ") for text in said.values())
        assert all(text.partition(": ")[0] in KINDS for text in said.values())
        shown = place.query(
            "SELECT a.value, b.value FROM tags a JOIN tags b USING (run_uuid) "
            "WHERE a.key = 'lockstep.trial' AND b.key = 'lockstep.diagnosis'"
        )
        assert dict(shown) == said
    finally:
        end_all()


@pytest.mark.slow
def test_what_goes_on_in_place_of_another_is_the_same_for_any_number_of_workers(tmp_path: Any, prepared: Any) -> None:
    """Rates from far too low to far too high; a trial that goes on has the weights, the values and the epochs before it."""
    words = ("optimizer=adamw", "schedule=constant", "space.optimizer.lr.low=1e-5", "space.optimizer.lr.high=1.0")
    words = (
        *words,
        "search=random",
        "search.pruner=diagnosis",
        "n_trials=16",
        "epochs=10",
        "model.norm=layer",
        "slots=4",
    )
    one, two = (Place(tmp_path / str(workers), prepared) for workers in (1, 2))
    try:
        one.run(*words, "workers=1")
        two.run(*words, "workers=2")
        assert one.trials == two.trials
        rows = one.rows()
        kinds = {row["diagnosis"].partition(": ")[0] for row in rows if row["state"] == "pruned"}
        assert {"too slow", "unstable"} <= kinds
        children = [row for row in rows if row["parent"]]
        assert children
        assert sum(not row["parent"] for row in rows) == 16
        for row in children:
            parent, _ = row["parent"].split("@")
            assert rows[int(parent)]["state"] == "pruned"
            assert "goes on as another trial" in rows[int(parent)]["diagnosis"]
        check_tracking(one)
    finally:
        end_all()
