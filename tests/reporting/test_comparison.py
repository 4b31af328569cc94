"""Curves of a comparison are quartiles of step functions, computed here point by point."""

import numpy as np
import pytest

from src.reporting.comparison import Run, curves, strategies, table

NAN = float("nan")


def run(strategy: str, epochs: list[float], best: list[float], maximize: bool = True) -> Run:
    seconds = np.array(epochs) / 10
    return Run(strategy, "val/accuracy", maximize, np.array(epochs, float), seconds, np.array(best), 9.0)


RUNS = [
    run("a", [2, 4, 6, 8], [NAN, 0.5, 0.7, 0.9]),
    run("a", [1, 5, 7], [0.2, 0.6, 0.6]),
    run("a", [3, 9], [0.3, 0.4]),
    run("b", [10], [0.95]),
]


def at(run: Run, epochs: float) -> float:
    """The best once so many epochs are spent."""
    return [best for e, best in zip(run.epochs, run.best, strict=True) if e <= epochs][-1]


def test_curves_are_quartiles_of_steps_from_where_every_run_has_a_value() -> None:
    places, quartiles = curves(RUNS[:3], "epochs")
    assert places.tolist() == [4, 5, 6, 7, 8, 9]
    for place, column in zip(places, quartiles.T, strict=True):
        assert column == pytest.approx(np.quantile([at(r, place) for r in RUNS[:3]], [0.25, 0.5, 0.75]))
    seconds, same = curves(RUNS[:3], "seconds")
    assert seconds == pytest.approx(places / 10)
    assert same == pytest.approx(quartiles)


@pytest.mark.parametrize(("maximize", "order"), [(True, ["b", "a"]), (False, ["a", "b"])])
def test_the_best_strategy_comes_first(maximize: bool, order: list[str]) -> None:
    runs = [run(r.strategy, r.epochs.tolist(), r.best.tolist(), maximize) for r in RUNS]
    rows = table(runs)
    assert [row["strategy"] for row in rows] == order
    (a,) = (row for row in rows if row["strategy"] == "a")
    assert (a["runs"], a["best_median"], a["epochs"]) == (3, 0.6, 8)


def test_the_fastest_to_a_value_need_not_be_the_best() -> None:
    """All come to 0.6, the worse median: b in its first trial, after 10 epochs, a's runs after 6, 5 and never."""
    assert {row["strategy"]: (row["value"], row["epochs_to"]) for row in table(RUNS)} == {"a": (0.6, 6), "b": (0.6, 10)}
    (only,) = table([run("c", [2, 4], [0.3, 0.3]), run("c", [2, 4], [0.5, 0.5])])
    assert (only["value"], only["epochs_to"]) == (0.4, None)


def test_a_strategy_is_all_that_differs_but_the_seed() -> None:
    choices = [["search=tpe", "seed=1"], ["++search.pruner=asha", "search=tpe", "++seed=2"]]
    assert strategies(choices) == ["search=tpe", "search.pruner=asha, search=tpe"]
