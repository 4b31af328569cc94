"""The range test finds the limit of problems whose limit is known, and says nothing of a divergence that is not there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training import bench, config, digits, rows

from src.population.ramp import ramp
from src.range_test import read, smooth, trend

Curves = tuple[NDArray[np.float64], NDArray[np.float64]]


def quadratic(
    curvature: float, steps: int, noise: float, seeds: int = 3, low: float = 1e-6, high: float = 100
) -> Curves:
    """Gradient descent on a bowl of 20 directions, the steepest of `curvature`, with noisy losses and gradients."""
    rate_S = np.geomspace(low, high, steps)
    spectrum = curvature * np.geomspace(0.01, 1, 20)
    losses = []
    for seed in range(seeds):
        draw = np.random.default_rng(seed)
        x, loss_S = draw.normal(size=20), []
        for rate in rate_S:
            with np.errstate(over="ignore", invalid="ignore"):
                loss_S.append(0.5 * (spectrum * x * x).sum() + 0.1 * curvature * (1 + noise * abs(draw.normal())))
                x = x - rate * (spectrum * x + noise * np.sqrt(curvature * spectrum) * draw.normal(size=20))
        losses.append(loss_S)
    return rate_S, np.array(losses)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("steps", [120, 300])
@pytest.mark.parametrize("curvature", [0.5, 10, 200, 5000])
def test_a_bowl_s_limit_is_found_within_20_per_cent(curvature: float, steps: int, noise: float) -> None:
    found = read(*quadratic(curvature, steps, noise))
    assert found.diverged_at == pytest.approx(2 / curvature, rel=0.2)
    assert found.base_lr <= found.suggested_lr <= found.max_lr <= found.diverged_at


@pytest.mark.parametrize("curvature", [1, 100])
def test_the_suggestion_scales_with_the_problem(curvature: float) -> None:
    one, other = (read(*quadratic(c, 120, 0.1)) for c in (curvature, 10 * curvature))
    assert 3 < one.suggested_lr / other.suggested_lr < 30
    assert 5 < one.max_lr / other.max_lr < 20


@pytest.mark.parametrize("batch_size", [64, 1000])
def test_least_squares_through_the_whole_engine(tmp_path: Path, batch_size: int) -> None:
    """A linear model on 1,000 rows: the curvature is twice the largest eigenvalue of the rows' second moments."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1100, 10)) * np.geomspace(0.2, 2, 10)
    y = x @ draw.normal(size=10) + draw.normal(size=1100)
    data = rows(torch.tensor(x).float(), torch.tensor(y / y.std()).float(), 1000, 100, n_classes=0, task="regression")
    with_bias = torch.cat([data.x_train, torch.ones(1000, 1)], 1).double()
    limit = 1 / torch.linalg.eigvalsh(with_bias.T @ with_bias / 1000).max().item()
    plain = config("linear", "sgd", momentum=0.0, nesterov=False, weight_decay=0.0, batch_size=batch_size)
    rate_S, loss_KS, accuracy = ramp(plain, bench(data, tmp_path), 0, 3, 1e-4, 100.0, 200)
    assert accuracy is None
    assert loss_KS.shape == (3, 200)
    np.testing.assert_allclose(rate_S, np.geomspace(1e-4, 100, 200), rtol=1e-5)
    assert read(rate_S, loss_KS).diverged_at == pytest.approx(limit, rel=0.2)


def test_it_tests_the_optimizer_that_is_chosen(tmp_path: Path) -> None:
    """The same data, seeds and rates: lion needs the smallest, plain descent the largest."""
    data, found = bench(digits(), tmp_path), {}
    for name, changes in {"lion": {}, "adamw": {}, "adagrad": {}, "sgd": {"momentum": 0.0, "nesterov": False}}.items():
        found[name] = read(*ramp(config(optimizer=name, **changes), data, 0, 3, 1e-6, 10.0, 120)[:2]).suggested_lr
    assert found["lion"] < found["adamw"] < found["adagrad"] < found["sgd"], found


def test_what_it_suggests_is_for_the_key_that_is_searched(tmp_path: Path) -> None:
    """Where the rate is scaled by the batch size, `optimizer.lr` is still the one before."""
    data = bench(digits(), tmp_path)
    plain, scaled = (
        ramp(config(optimizer="sgd", scaling=scaling, base_batch=16), data, 0, 2, low, high, 60)
        for scaling, low, high in (("none", 4e-4, 4.0), ("linear", 1e-4, 1.0))
    )
    np.testing.assert_allclose(scaled[0], np.geomspace(1e-4, 1, 60), rtol=1e-5)
    np.testing.assert_allclose(scaled[1][:, :30], plain[1][:, :30], rtol=1e-4)


def test_what_does_not_diverge_has_no_limit() -> None:
    rate_S, loss_KS = quadratic(10, 120, 0.1, high=0.05)
    found = read(rate_S, loss_KS)
    assert found.diverged_at is None
    assert found.max_lr == pytest.approx(0.05, rel=0.3)
    flat = read(rate_S, np.full((3, 120), 2.3))
    assert flat.diverged_at is None


def test_a_minority_of_diverged_seeds_makes_no_limit() -> None:
    rate_S, calm_KS = quadratic(10, 120, 0.1, high=0.05)
    wild_KS = calm_KS.copy()
    wild_KS[0, 80:] = np.nan
    assert read(rate_S, wild_KS).diverged_at is None
    wild_KS[1, 90:] = np.inf
    assert rate_S[70] < read(rate_S, wild_KS).diverged_at <= rate_S[90]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e35])
@pytest.mark.parametrize("step", [0, 1, 2, 60, 119])
def test_a_loss_that_breaks_off_ends_the_test_there(step: int, value: float) -> None:
    rate_S, loss_KS = quadratic(1e-9, 120, 0.02)
    loss_KS[:, step:] = value
    found = read(rate_S, loss_KS)
    assert found.diverged_at is not None
    assert rate_S[max(step - 8, 0)] <= found.diverged_at <= rate_S[step]
    assert found.max_lr <= found.diverged_at


def test_smoothing() -> None:
    """Constants stay; the moving average is fastai's (debiased); the trend does not lag behind a line."""
    np.testing.assert_allclose(smooth(np.full(9, 2.0)), 2.0)
    np.testing.assert_allclose(smooth(np.array([1.0, 2.0])), [1, (0.9 * 0.1 + 0.1 * 2) / (1 - 0.81)])
    line = np.arange(101.0)
    np.testing.assert_allclose(trend(line)[40:61], line[40:61], atol=1e-3)
    assert smooth(line)[60] < 52
