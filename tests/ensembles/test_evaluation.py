"""Judging: every measure is that of its definition, written out, of scikit-learn, or of a closed form."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from src.ensembles import evaluation as evaluation
from src.ensembles.forward_selection import losses_by_size, order
from src.metrics.measures.crps import crps
from src.metrics.measures.ece import calibration_error, reliability
from src.metrics.scoring import row_losses, score
from tests.ensembles.test_combiners import classified, equal, valued


@pytest.mark.parametrize("draw", [classified, valued], ids=["classes", "values"])
def test_the_ambiguity_identity_is_exact(draw: Any) -> None:
    """Krogh & Vedelsby 1995: the error of the mean is the members' mean error less their ambiguity."""
    for seed in range(20):
        p_MNC, y_N = draw(seed, members=2 + seed % 6)
        shares = np.random.default_rng(seed).dirichlet(np.ones(len(p_MNC)))
        found = evaluation.ambiguity(p_MNC, y_N, shares)
        mean = np.tensordot(shares, p_MNC, 1)
        direct = (mean - y_N) ** 2 if mean.ndim == 1 else ((mean - np.eye(3)[y_N]) ** 2).sum(1)
        scale = max(1.0, found["members"])
        assert abs(found["error"] - direct.mean()) < 1e-9 * scale
        assert abs(found["error"] - (found["members"] - found["ambiguity"])) < 1e-9 * scale
        assert found["ambiguity"] > 0


def test_members_that_are_equal_have_no_ambiguity() -> None:
    p_MNC, y_N = classified()
    same = np.repeat(p_MNC[:1], 4, 0)
    assert evaluation.ambiguity(same, y_N, equal(same))["ambiguity"] == pytest.approx(0, abs=1e-12)


def test_diversity_is_counted_pair_by_pair() -> None:
    p_MNC, y_N = classified(members=4)
    found = evaluation.diversity(p_MNC, y_N)
    right = p_MNC.argmax(2) == y_N
    for i, j in combinations(range(4), 2):
        a, b = (int((right[i] & right[j]).sum()), int((right[i] & ~right[j]).sum()))
        c, d = (int((~right[i] & right[j]).sum()), int((~right[i] & ~right[j]).sum()))
        assert found["disagreement"][i, j] == found["disagreement"][j, i] == pytest.approx((b + c) / 200)
        assert found["double_fault"][i, j] == pytest.approx(d / 200)
        assert found["q"][i, j] == pytest.approx((a * d - b * c) / (a * d + b * c))
        assert found["correlation"][i, j] == pytest.approx(np.corrcoef(right[i], right[j])[0, 1])
    assert found["q"].diagonal() == pytest.approx(np.ones(4))


def test_diversity_of_values() -> None:
    values_MN, y_N = valued(members=3)
    found = evaluation.diversity(values_MN, y_N)
    np.testing.assert_allclose(found["correlation"], np.corrcoef(values_MN - y_N))
    assert found["disagreement"][0, 2] == pytest.approx(np.sqrt(np.mean((values_MN[0] - values_MN[2]) ** 2)))
    assert "q" not in found


def test_members_without_a_fault_have_no_correlation() -> None:
    right = np.eye(3)[[0, 1, 2, 0]][None].repeat(2, 0)
    found = evaluation.diversity(right, np.array([0, 1, 2, 0]))
    assert np.isnan(found["correlation"]).all()
    assert np.isnan(found["q"]).all()
    assert evaluation.mean_pair(found["q"]) is None
    assert evaluation.mean_pair(found["double_fault"]) == 0


def test_crps_of_members_is_the_integral_of_its_definition() -> None:
    """∫ (F(x) − 1[x ≥ y])² dx with F the members' distribution."""
    rng = np.random.default_rng(0)
    values_MN, y_N, shares = rng.normal(size=(5, 3)), rng.normal(size=3), rng.dirichlet(np.ones(5))
    x = np.linspace(-6, 6, 240_001)
    by_hand = [
        np.trapezoid(((shares[:, None] * (values[:, None] <= x)).sum(0) - (x >= y)) ** 2, x)
        for values, y in zip(values_MN.T, y_N, strict=True)
    ]
    assert crps(values_MN, y_N, shares) == pytest.approx(np.mean(by_hand), abs=2e-4)
    assert crps(values_MN[:1], y_N, np.ones(1)) == pytest.approx(abs(values_MN[0] - y_N).mean())


def test_brier_is_scikit_learns() -> None:
    p_MNC, y_N = classified()
    found = score("classification", p_MNC[0], y_N, p_MNC[:1], np.ones(1))
    assert found["brier"] == pytest.approx(brier_score_loss(y_N, p_MNC[0], scale_by_half=False))
    values_MN, z_N = valued()
    assert "crps" in score("regression", values_MN.mean(0), z_N, values_MN, equal(values_MN))


def test_reliability_adds_up_to_the_calibration_error() -> None:
    p_MNC, y_N = classified(rows=1000)
    bins = reliability(p_MNC[0], y_N)
    total = sum(b["rows"] for b in bins)
    assert total == 1000
    gap = sum(abs(b["accuracy"] - b["confidence"]) * b["rows"] for b in bins) / total
    assert gap == pytest.approx(calibration_error(p_MNC[0], y_N))
    two, z_N = classified(rows=1000, classes=2)
    curve = calibration_curve(z_N == two[0].argmax(1), two[0].max(1), n_bins=15)
    mine = reliability(two[0], z_N)
    np.testing.assert_allclose([b["confidence"] for b in mine], curve[1], atol=1e-12)


def test_intervals_cover_as_often_as_they_say() -> None:
    """Of an accuracy that is known, over 200 samples; 95 % within three standard errors."""
    rng, hits = np.random.default_rng(0), 0
    for seed in range(200):
        y_N = np.zeros(150, int)
        p_NC = np.where((rng.random(150) < 0.8)[:, None], [[0.9, 0.1]], [[0.1, 0.9]])
        found = evaluation.intervals("classification", p_NC, y_N, seed=seed)["accuracy"]
        assert found["value"] == pytest.approx((p_NC[:, 0] > 0.5).mean())
        hits += found["low"] <= 0.8 <= found["high"]
    assert abs(hits / 200 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 200)


def test_a_gain_is_paired_row_by_row() -> None:
    values_MN, y_N = valued(rows=400)
    gain = evaluation.intervals("regression", values_MN[0], y_N, values_MN[0] + 1e-3)["rmse"]
    apart = evaluation.intervals("regression", values_MN[0], y_N)["rmse"]
    assert gain["high"] - gain["low"] < 0.01 * (apart["high"] - apart["low"])
    rmse = [np.sqrt(np.mean((v - y_N) ** 2)) for v in (values_MN[0], values_MN[0] + 1e-3)]
    assert gain["value"] == pytest.approx(rmse[0] - rmse[1])


def test_growth_ends_with_the_average_and_begins_with_the_mean_member() -> None:
    p_MNC, y_N = classified(members=5)
    found = evaluation.growth("classification", p_MNC, y_N, "nll", draws=400)
    assert [point["n"] for point in found] == [1, 2, 3, 4, 5]
    nll = [float(-np.log(p[range(200), y_N]).mean()) for p in (*p_MNC, p_MNC.mean(0))]
    assert found[-1]["value"] == pytest.approx(nll[-1])
    assert found[0]["value"] == pytest.approx(np.mean(nll[:-1]), rel=0.05)
    assert [point["n"] for point in evaluation.growth("classification", p_MNC.repeat(20, 0), y_N, "nll", 1)][-1] == 100


def test_the_frontier_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    costs, values = rng.integers(1, 12, 40).tolist(), rng.random(40).tolist()
    by_hand = {
        k
        for k in range(40)
        if not any(
            (costs[j], values[j]) != (costs[k], values[k]) and costs[j] <= costs[k] and values[j] <= values[k]
            for j in range(40)
        )
    }
    assert set(evaluation.frontier(costs, values)) == by_hand


def test_the_smallest_within_a_standard_error_is_marked() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # a standard error of 0.1
    losses = np.stack([1.05 + noise, 1.0 + noise, 1.09 + noise, 1.2 + noise])
    place, limit = evaluation.smallest([5, 9, 2, 1], losses)
    assert limit == pytest.approx(1.1)
    assert place == 2


def test_the_map_keeps_distances_that_lie_in_a_plane() -> None:
    rng = np.random.default_rng(0)
    plane, directions = rng.normal(size=(6, 2)), np.linalg.qr(rng.normal(size=(30, 2)))[0]
    points, axes = evaluation.embedding((plane @ directions.T).reshape(6, 10, 3))
    for i, j in combinations(range(6), 2):
        assert np.linalg.norm(points[i] - points[j]) == pytest.approx(np.linalg.norm(plane[i] - plane[j]))
    assert sum(axes) == pytest.approx(1)
    assert evaluation.embedding(np.ones((3, 4, 2)))[0].tolist() == [[0, 0]] * 3


def test_disputed_rows_are_those_of_most_variance() -> None:
    p_MNC: NDArray[Any] = np.full((4, 50, 2), 0.5)
    p_MNC[:2, [7, 31]] = [0.9, 0.1]
    p_MNC[2:, 31] = [0.1, 0.9]
    assert evaluation.disputed(p_MNC, equal(p_MNC), 2).tolist() == [31, 7]


@pytest.mark.parametrize("draw", [classified, valued], ids=["classes", "values"])
def test_the_best_few_are_taken_one_by_one(draw: Any) -> None:
    p_MNC, y_N = draw(1, members=5)
    task = "classification" if draw is classified else "regression"
    by = "nll" if draw is classified else "rmse"
    taken: list[int] = []
    while len(taken) < 5:
        rest = [k for k in range(5) if k not in taken]
        loss = [row_losses(task, p_MNC[[*taken, k]].mean(0), y_N)[by].mean() for k in rest]
        taken.append(rest[int(np.argmin(loss))])
    assert order(p_MNC, y_N, 5) == taken
    everyone = losses_by_size(p_MNC, y_N, 5)[-1]
    np.testing.assert_allclose(everyone, row_losses(task, p_MNC.mean(0), y_N)[by], rtol=1e-9)
