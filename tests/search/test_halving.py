"""Successive halving with promotion: the rungs and brackets of the papers, and who goes on."""

from collections import Counter
from typing import Any

import pytest

from src.config.space import Leaf, Space
from src.search.fidelity.halving import Halving
from src.search.proposing.history_sampler import HistorySampler
from src.search.protocol import Spec
from src.search.strategies.random import random as random_search
from src.study.history import History, Reported, Started
from tests.support.virtual import BASE, Sweep, flat, objective


def halving(epochs: int, n_trials: int = 30, eta: int = 3, min_epochs: Any = "auto", brackets: Any = 1) -> Halving:
    return Halving(Spec(Space(Leaf(BASE, {})), "minimize", n_trials, epochs, 0), eta, min_epochs, brackets)


@pytest.mark.parametrize(
    ("epochs", "eta", "min_epochs", "rungs"),
    [
        (81, 3, 1, [1, 3, 9, 27, 81]),
        (81, 3, "auto", [9, 27, 81]),
        (20, 3, "auto", [2, 7, 20]),
        (52, 2, 10, [13, 26, 52]),
        (1, 3, "auto", [1]),
        (2, 3, "auto", [1, 2]),
        (3, 4, 3, [3]),
    ],
)
def test_rungs_go_down_from_the_full_training(epochs: int, eta: int, min_epochs: Any, rungs: list[int]) -> None:
    assert halving(epochs, eta=eta, min_epochs=min_epochs).rungs == rungs


def test_several_brackets_begin_lower() -> None:
    assert halving(20, brackets="all").rungs == [1, 2, 7, 20]


def test_brackets_are_those_of_the_hyperband_paper() -> None:
    """Table 1 of Li et al. 2018 (R = 81, eta = 3), apart from the paper's own rounding down."""
    rule = halving(81, min_epochs=1, brackets="all")
    assert Counter(rule.first(number) for number in range(81 + 34 + 15 + 8 + 5)) == {1: 81, 3: 34, 9: 15, 27: 8, 81: 5}
    assert rule.first(81 + 34 + 15 + 8 + 5) == 1


def sweep(n_trials: int, brackets: Any = 1, slots: int = 1, fails: Any = lambda params: False) -> Sweep:
    """Random points of the test space, whose curves cross."""
    spec = Spec(flat(), "minimize", n_trials, 27, 3)
    rule = Halving(spec, 3, 1, brackets)
    return Sweep(HistorySampler(spec, random_search(spec, pruner="none").source, rule, False), slots, fails=fails)  # type: ignore[attr-defined]


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("brackets", [1, "all"])
def test_only_the_best_third_of_a_rung_goes_on_and_at_least_one(monkeypatch: Any, brackets: Any, slots: int) -> None:
    monkeypatch.setattr("tests.support.virtual.EPOCHS", 27)
    live = sweep(60, brackets, slots).run()
    rule: Any = live.search
    reached: dict[tuple[int, int], list[tuple[float, int]]] = {}
    at: dict[int, int] = {}
    for event in live.history.events:
        trial = live.history.trials[event.trial]
        bracket = rule.fidelity.first(trial.number)
        if isinstance(event, Reported) and event.state != "pruned":
            at[trial.number] = event.epochs
            reached.setdefault((bracket, event.epochs), []).append((trial.values[event.epochs - 1], trial.number))
        elif isinstance(event, Started) and trial.number in at:
            here = sorted(reached[bracket, at[trial.number]])
            rank = here.index((trial.values[at[trial.number] - 1], trial.number))
            assert rank < max(1, len(here) // 3)
            assert event.target == rule.fidelity.rungs[rule.fidelity.rungs.index(at[trial.number]) + 1]
    assert {t.state for t in live.history.trials} == {"complete", "pruned"}
    assert len({rule.fidelity.first(t.number) for t in live.history.of("complete")}) == (4 if brackets == "all" else 1)


def test_what_is_worst_at_first_costs_its_first_rung(monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.support.virtual.EPOCHS", 27)
    live = sweep(27).run()
    values = sorted(objective(t.params, 1) for t in live.history.trials)
    bad = [t for t in live.history.trials if objective(t.params, 1) > values[2 * 27 // 3]]
    assert bad
    assert sum(t.epochs == 1 for t in bad) >= len(bad) - 3  # few others were there when the first of them were ranked


def test_a_failed_trial_is_the_worst_of_its_rung() -> None:
    """Three trials, two of which fail: the third is the best third of three."""
    rule, history = halving(9, n_trials=100, min_epochs=1), History("minimize")
    for number, state in enumerate(("fail", "paused", "fail")):
        history.start(_new(rule, number), 9, 1.0)
        assert rule.promotions(history) == []
        history.report(number, [] if state == "fail" else [0.5], state)  # type: ignore[arg-type]
    assert [(p.trial, p.epochs) for p in rule.promotions(history)] == [(1, 3)]


def test_values_to_be_maximized() -> None:
    spec = Spec(Space(Leaf(BASE, {})), "maximize", 100, 9, 0)
    rule, history = Halving(spec, 3, 1, 1), History("maximize")
    for number, value in enumerate((0.1, 0.9, float("nan"))):
        history.start(_new(rule, number), 9, 1.0)
        history.report(number, [value], "paused")
    assert [p.trial for p in rule.promotions(history)] == [1]


def _new(rule: Halving, number: int) -> Any:
    from src.study.history import Proposal

    return Proposal({}, rule.first(number))
