"""The choice of an ensemble: nothing is fitted on few rows or preferred by chance, and a single model may be better."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from src.ensembles.choice import gap, losses, simplest
from src.ensembles.combiners.average import average
from src.ensembles.combiners.stacking import stacking
from src.ensembles.combiners.vote import vote
from src.ensembles.combiners.weighted import weighted
from src.ensembles.comparison import Comparison, compare
from src.ensembles.enough_rows import fitted_numbers, rows_needed
from src.ensembles.mixture import Committees, Stacking, Temperature, Vote, Weighted
from src.ensembles.selection import Combiner, compare_combiners
from src.ensembles.temperature import calibrated, temperature
from src.metrics.listing import selection
from src.metrics.scoring import predictions_of
from tests.ensembles.test_combiners import GREEDY, STACKING, classified
from tests.ensembles.test_selection import final_member

AVERAGE, VOTE = Combiner("average", average), Combiner("vote", vote, complexity=1)
FITTED = [
    Combiner("weighted", weighted, complexity=1),
    Combiner("greedy", GREEDY, complexity=2),
    Combiner("stacking", STACKING, complexity=3),
    Combiner("average+temperature", partial(calibrated, average), complexity=0.5),
]
PLAIN_STACKING = Combiner("stacking", partial(stacking, strengths=[0.003], parts=5, rows=2000), complexity=3)


def pool_of(p_MNC: NDArray[Any]) -> list[Any]:
    return [final_member("mlp", "seeds", f"seeds-{k}", p_NC) for k, p_NC in enumerate(p_MNC)]


def compared(p_MNC: NDArray[Any], y_N: NDArray[Any], fits: list[Combiner], metric: str | None = None) -> Comparison:
    pool = pool_of(p_MNC)
    task = "classification" if p_MNC.ndim == 3 else "regression"
    candidates, _ = compare_combiners(pool, fits, y_N, y_N)
    return compare(selection(task, metric), pool, candidates, y_N)


def alike(seed: int, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Four members that know the probabilities of two classes but for some noise."""
    rng = np.random.default_rng(seed)
    logits_N = 2 * rng.normal(size=rows)
    y_N = (rng.random(rows) < 1 / (1 + np.exp(-logits_N))).astype(int)
    p_MN = 1 / (1 + np.exp(-(logits_N + 0.5 * rng.normal(size=(4, rows)))))
    return np.stack([1 - p_MN, p_MN], -1), y_N


# --- rows --------------------------------------------------------------------------------------------------------------


def test_fitted_numbers_are_counted() -> None:
    own = np.array([0.2, 0.3, 0.5])
    for mixture, count in (
        (Weighted(own), 0),
        (Vote(own), 0),
        (Weighted([0.1, 0.4, 0.5]), 2),
        (Weighted([-0.1, 0.6, 0.5], 0.2), 4),
        (Weighted(own, 0.1), 4),
        (Stacking(np.zeros((3, 4, 4)), np.zeros(4)), 3 * 13),
        (Temperature(Weighted(own), 2.0), 1),
        (Temperature(Weighted([0.1, 0.4, 0.5]), 2.0), 3),
        (Committees(Weighted([0.5, 0.5]), np.eye(3)[:2]), 0),
        (Committees(Weighted([0.4, 0.6]), np.eye(3)[:2]), 1),
    ):
        assert fitted_numbers(mixture, own, 10_000) == count


def test_weights_of_a_large_library_need_few_rows() -> None:
    """Convex aggregation costs a logarithm: 50 of the best trials are joined on 400 rows of ten classes."""
    assert rows_needed(Weighted(np.eye(50)[0]), np.full(50, 0.02), 400, 10) < 400
    assert rows_needed(Weighted(-np.eye(50)[0]), np.full(50, 0.02), 400, 10) > 600


@pytest.mark.parametrize(("rows", "classes"), [(6, 2), (12, 3), (30, 3)], ids=["30", "60", "150 rows of a table"])
def test_nothing_is_fitted_on_the_validation_rows_of_a_small_table(rows: int, classes: int) -> None:
    p_MNC, y_N = classified(members=5, rows=rows, classes=classes)
    candidates, left_out = compare_combiners(pool_of(p_MNC), [AVERAGE, VOTE, *FITTED], y_N, y_N)
    assert list(candidates) == ["mlp:seeds+average", "mlp:seeds+vote"]
    assert [line.partition(" ")[0] for line in left_out] == [each.name for each in FITTED]
    need = 10 * (4 + classes)
    assert left_out[0] == (
        f"weighted is left out: what it fits needs {need} rows (10 for each number and class), and there are {rows}"
    )


def test_the_average_takes_the_place_of_a_combiner_that_has_too_few_rows() -> None:
    p_MNC, y_N = classified(members=5, rows=30)
    candidates, left_out = compare_combiners(pool_of(p_MNC), FITTED[2:3], y_N, y_N)
    assert list(candidates) == ["mlp:seeds+average"]
    assert len(left_out) == 1


def test_with_rows_enough_everything_is_tried() -> None:
    p_MNC, y_N = classified(members=5, rows=400)
    candidates, left_out = compare_combiners(pool_of(p_MNC), [AVERAGE, FITTED[0], PLAIN_STACKING], y_N, y_N)
    assert (len(candidates), left_out) == (3, [])


def test_a_temperature_of_rows_that_are_all_right_stays_moderate() -> None:
    """30 of 30 right by chance is no reason to be certain: the next row may be wrong."""
    sure = temperature(np.tile([0.9, 0.05, 0.05], (60, 1)), np.zeros(60, int))
    assert 0.3 < sure < 1
    p = np.array([0.9, 0.05, 0.05]) ** (1 / sure)
    assert (p / p.sum())[0] == pytest.approx(1 - 2 / 3 / 61, abs=2e-3), "one row in 61, of any class"


# --- the choice --------------------------------------------------------------------------------------------------------


def test_of_those_within_a_standard_error_the_simplest_is_chosen() -> None:
    rng = np.random.default_rng(0)
    best = rng.normal(1, 1, 100)
    noise = rng.normal(size=100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # of a paired difference: a standard error of 0.1
    loss = {
        "stacking": best,
        "greedy": best + 0.05 + noise,
        "weighted": best + 0.09 + noise,
        "average": best + 0.11 + noise,
    }
    value = {name: float(each.mean()) for name, each in loss.items()}
    complexity = {"average": 0.0, "weighted": 1.0, "greedy": 2.0, "stacking": 3.0}
    assert simplest(value, loss, complexity) == ("weighted", "stacking")
    loss["average"] -= 0.02
    assert simplest(value, loss, complexity) == ("average", "stacking")
    assert simplest(value, loss, dict.fromkeys(loss, 0.0))[0] == "stacking"


def test_a_difference_is_paired_row_by_row() -> None:
    """A constant difference is certain, however much rows differ."""
    theirs = np.random.default_rng(0).normal(0, 100, 50)
    assert not gap(theirs + 1e-3, theirs).is_within_one_error
    assert gap(theirs - 1e-3, theirs).is_within_one_error
    assert gap(np.full(50, np.nan), theirs).is_within_one_error, "nothing is known"


@pytest.mark.parametrize(("metric", "parts"), [("nll", 300), ("accuracy", 300), ("roc_auc", 5), ("macro_f1", 5)])
def test_a_metric_of_all_rows_is_compared_over_folds(metric: str, parts: int) -> None:
    p_MNC, y_N = classified(members=2, rows=300)
    chosen_by = selection("classification", metric)
    found = losses(chosen_by, lambda rows: predictions_of("classification", p_MNC[0][rows], y_N[rows]), y_N)
    assert found.shape == (parts,)
    whole = float(chosen_by(predictions_of("classification", p_MNC[0], y_N))[0])
    assert found.mean() == pytest.approx(-whole if chosen_by.higher_is_better else whole, abs=0.02)


@pytest.mark.parametrize("metric", [None, "roc_auc", "accuracy"])
def test_nothing_is_preferred_by_chance(metric: str | None) -> None:
    """Members that differ by nothing but noise: whichever is ahead, the average is as good but for chance."""
    chosen, best, by = [], [], metric or "nll"
    for seed in range(8):
        p_MNC, y_N = alike(seed, rows=300)
        found = compared(p_MNC, y_N, [AVERAGE, FITTED[0], PLAIN_STACKING], metric)
        chosen.append(found.chosen)
        best.append(min(found.val, key=lambda name: selection("classification", metric).loss(found.val[name][by])))
    assert chosen.count("mlp:seeds+average") >= 6
    assert best.count("mlp:seeds+average") < 6


def test_what_is_truly_better_is_chosen() -> None:
    """One member in five knows the truth: the average of all is far behind."""
    rng = np.random.default_rng(0)
    y_N = 10 * rng.normal(size=300)
    values_MN = np.stack([y_N + rng.normal(size=300), *rng.normal(size=(4, 300))])
    assert compared(values_MN, y_N, [AVERAGE, FITTED[0], PLAIN_STACKING]).chosen == "mlp:seeds+weighted"


# --- the best single model -----------------------------------------------------------------------------------------------


def test_an_ensemble_that_is_worse_than_its_best_member_is_not_crowned() -> None:
    rng = np.random.default_rng(0)
    y_N = 10 * rng.normal(size=60)
    values_MN = np.stack([y_N + rng.normal(size=60), *rng.normal(size=(4, 60))])
    found = compared(values_MN, y_N, [AVERAGE])
    assert found.refusal == "it is worse than its best single model, mlp seeds-0, by more than one standard error"
    (note,) = found.notes
    assert note.startswith("mlp:seeds+average is not better on the validation rows than the best single model, mlp")
    assert note.endswith("it is worse by more than one standard error, and so not crowned")


def test_the_luckiest_of_equal_members_is_seldom_believed() -> None:
    """The best of ten equal members is ahead of their mean in most samples of 100 rows, by chance."""
    refused, better = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y_N = rng.normal(size=100)
        values_MN = y_N + rng.normal(size=100) + 0.3 * rng.normal(size=(10, 100))
        found = compared(values_MN, y_N, [AVERAGE])
        refused += bool(found.refusal)
        is_better = found.singles[found.single]["rmse"] <= found.val[found.chosen]["rmse"]
        assert bool(found.notes) == is_better, "it is said whenever it is so"
        better += is_better
    assert better > 7
    assert refused < 4


def test_few_rows_crown_no_member_over_its_ensemble() -> None:
    """A net that is sure of itself and right about all of 30 rows: the next rows had it at an NLL of 0.93."""
    y_N = np.resize([0, 1, 2], 30)
    p_MNC = np.stack([np.where(np.eye(3)[y_N] > 0, sure, (1 - sure) / 2) for sure in (0.999, 0.9, 0.9, 0.9, 0.9)])
    p_MNC += np.random.default_rng(0).uniform(0, 1e-4, p_MNC.shape)
    found = compared(p_MNC, y_N, [AVERAGE])
    assert found.refusal == ""
    assert found.notes[0].endswith("which 30 rows are too few to tell")
    many = compared(np.repeat(p_MNC, 4, 1), np.repeat(y_N, 4), [AVERAGE])
    assert many.refusal.startswith("it is worse than its best single model")


def test_a_better_ensemble_needs_no_word() -> None:
    p_MNC, y_N = alike(0, rows=2000)
    found = compared(p_MNC, y_N, [AVERAGE])
    assert (list(found.notes), found.refusal) == ([], "")
    alone = compared(p_MNC[:1], y_N, [AVERAGE])
    assert (list(alone.notes), alone.refusal) == ([], ""), "the ensemble is the single model"
