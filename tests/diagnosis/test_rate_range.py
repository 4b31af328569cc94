"""The range test finds the limit of problems whose limit is known, and says nothing of a divergence that is not there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from src.diagnosis.rate_range import best, bounds, over, read, smooth, trend
from src.engine.fusing import rows as worker_rows
from src.engine.rate_ramp import ramp, side_by_side
from src.population.rows import Rows
from tests.support.training import OPTIMIZERS, config, digits, images, rows, setup, table

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
    assert found.valley_lr <= found.lowest_lr <= found.diverged_at
    assert found.steepest_lr <= found.lowest_lr


@pytest.mark.parametrize("curvature", [1, 100])
def test_the_suggestion_scales_with_the_problem(curvature: float) -> None:
    one, other = (read(*quadratic(c, 120, 0.1)) for c in (curvature, 10 * curvature))
    assert 3 < one.valley_lr / other.valley_lr < 30
    assert 3 < one.steepest_lr / other.steepest_lr < 30
    assert 5 < one.lowest_lr / other.lowest_lr < 20


@pytest.mark.parametrize("scale", [0.5, 2, 8])
def test_the_limit_of_a_two_layer_linear_net(scale: float) -> None:
    """Balanced layers that make a map of largest singular value σ on whitened inputs: the curvature there is 2σ.

    (Nothing is flatter: of all factorizations the balanced ones have the smallest curvature.)
    """
    rate_S, losses = np.geomspace(1e-4, 100, 160), []
    for seed in range(3):
        draw = np.random.default_rng(seed)
        u, v = (np.linalg.qr(draw.normal(size=(6, 6)))[0] for _ in range(2))
        singular = scale * np.geomspace(1, 0.05, 6)
        goal = u @ np.diag(singular) @ v
        first = np.diag(np.sqrt(singular)) @ v + 0.02 * draw.normal(size=(6, 6))
        second = u @ np.diag(np.sqrt(singular)) + 0.02 * draw.normal(size=(6, 6))
        loss_S = []
        for rate in rate_S:
            with np.errstate(over="ignore", invalid="ignore"):
                off = second @ first - goal + 0.02 * scale * draw.normal(size=(6, 6))
                loss_S.append(0.5 * (off**2).sum())
                first, second = first - rate * second.T @ off, second - rate * off @ first.T
        losses.append(loss_S)
    assert read(rate_S, np.array(losses)).diverged_at == pytest.approx(2 / (2 * scale), rel=0.2)


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
    found = ramp(plain, setup(data, tmp_path), 0, seeds=3, low=1e-4, high=100.0, steps=200, over=over)
    assert found.loss_KS.shape == found.score_KS.shape == (3, len(found.rate_S))
    np.testing.assert_allclose(found.rate_S, np.geomspace(1e-4, 100, 200)[: len(found.rate_S)], rtol=1e-5)
    assert read(found.rate_S, found.loss_KS).diverged_at == pytest.approx(limit, rel=0.2)
    assert len(found.rate_S) < 200, "it ends once it has diverged"
    r2 = [point["r2"] for point in found.points() if point["r2"] is not None]
    variance = float(data.y_val.var(correction=0))
    best = 1 - _least_squares_error(data) / variance
    assert best - 0.15 < max(r2) < best + 0.02
    assert {point["accuracy"] for point in found.points()} == {None}


def _least_squares_error(data: Rows) -> float:
    """The mean squared error on the validation rows of scikit-learn's solution."""
    model = LinearRegression().fit(data.x_train.numpy(), data.y_train.numpy())
    return float(((model.predict(data.x_val.numpy()) - data.y_val.numpy()) ** 2).mean())


def test_it_tests_the_optimizer_that_is_chosen(tmp_path: Path) -> None:
    """The same data, seeds and rates: lion needs the smallest, plain descent the largest."""
    data, found = setup(digits(), tmp_path), {}
    for name, changes in {"lion": {}, "adamw": {}, "adagrad": {}, "sgd": {"momentum": 0.0, "nesterov": False}}.items():
        seen = ramp(config(optimizer=name, **changes), data, 0, seeds=3, low=1e-6, high=10.0, steps=120)
        found[name] = read(seen.rate_S, seen.loss_KS).valley_lr
    assert found["lion"] < found["adamw"] < found["adagrad"] < found["sgd"], found


def test_what_it_suggests_is_for_the_key_that_is_searched(tmp_path: Path) -> None:
    """Where the rate is scaled by the batch size, `optimizer.lr` is still the one before."""
    data = setup(digits(), tmp_path)
    plain, scaled = (
        ramp(config(optimizer="sgd", batch_scaling=scaling), data, 0, seeds=2, low=low, high=high, steps=60)
        for scaling, low, high in (
            ({"rule": "none", "base_batch": 16, "rise_epochs": 0.0}, 4e-4, 4.0),
            ({"rule": "linear", "base_batch": 16, "rise_epochs": 0.0}, 1e-4, 1.0),
        )
    )
    np.testing.assert_allclose(scaled.rate_S, np.geomspace(1e-4, 1, 60), rtol=1e-5)
    np.testing.assert_allclose(scaled.loss_KS[:, :30], plain.loss_KS[:, :30], rtol=1e-4)


def test_what_does_not_diverge_has_no_limit() -> None:
    rate_S, loss_KS = quadratic(10, 120, 0.1, high=0.05)
    found = read(rate_S, loss_KS)
    assert found.diverged_at is None
    assert found.lowest_lr == pytest.approx(0.05, rel=0.3)
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
    assert found.lowest_lr <= found.diverged_at


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("points", [40, 200])
def test_the_bounds_are_where_the_accuracy_rises_and_where_it_falls(points: int, noise: float) -> None:
    """An accuracy that leaves 0.1 at the rate 0.1, rises until 0.4, stays, and falls from 0.8 on."""
    rate_S = np.linspace(0, 1, points)
    clean_S = np.interp(rate_S, [0, 0.1, 0.4, 0.8, 1], [0.1, 0.1, 0.9, 0.9, 0.2])
    draw = np.random.default_rng(0)
    base, most = bounds(rate_S, clean_S + noise * draw.normal(size=(5, points)))
    assert base == pytest.approx(0.1 + 0.1 * 0.3, abs=0.06)
    assert most == pytest.approx(0.4 - 0.1 * 0.3, abs=0.06)


def test_raggedness_is_an_upper_bound_before_the_rise_ends() -> None:
    rate_S = np.linspace(0, 1, 101)
    calm_S = 0.1 + 0.8 * rate_S
    ragged_S = calm_S - np.where(rate_S > 0.6, 0.3 * (np.arange(101) % 2), 0)
    assert bounds(rate_S, calm_S[None])[1] > 0.85
    assert bounds(rate_S, ragged_S[None])[1] == pytest.approx(0.6, abs=0.02)
    holes = np.where(np.arange(101) % 3 == 2, ragged_S, np.nan)  # it was looked at after every third step
    assert bounds(rate_S, holes[None])[1] == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("task", ["mlp", "cnn", "regression"])
def test_all_forms_work_for_every_optimizer(task: str, optimizer: str, tmp_path: Path) -> None:
    """What they find trains: better than from the lowest rates, and after 3 epochs better than a constant answer."""
    data = {"mlp": digits, "cnn": images, "regression": lambda: table("regression")}[task]()
    place, own = setup(data, tmp_path), config("cnn" if task == "cnn" else "mlp", optimizer, batch_size=32)
    rise = ramp(own, place, 0, seeds=2, low=1e-6, high=10.0, steps=80, over=over)
    rules = read(rise.rate_S, rise.loss_KS)
    line = ramp(own, place, 0, seeds=2, low=rules.top / 52, high=rules.top, steps=52, linear=True, watch=2)
    base, most = bounds(line.rate_S, line.score_KS)
    assert line.rate_S[0] <= base <= most <= rules.top <= 10.01
    np.testing.assert_allclose(np.diff(line.rate_S), rules.top / 52, rtol=1e-3)
    rates = [rules.rates(1e-6, 5)[0], rules.valley_lr, rules.steepest_lr, best(rise.rate_S, rise.loss_KS.mean(0))]
    beside = side_by_side(own, place, 0, rates, 3)
    assert min(beside.loss_KS[0][1:3]) < beside.loss_KS[0][0]
    assert beside.score_KS[0][1:3].max() > (0 if task == "regression" else 0.3)


def test_rates_side_by_side_differ_in_the_rate_alone(tmp_path: Path) -> None:
    place = setup(digits(), tmp_path)
    twice = side_by_side(config(), place, 0, [1e-3, 1e-3, 1e-2], 2)
    assert twice.loss_KS[0][0] == twice.loss_KS[0][1] != twice.loss_KS[0][2]
    assert side_by_side(config(), place, 0, [1e-3, 3.0], 2).loss_KS[0][0] == twice.loss_KS[0][0]
    falling = side_by_side(config(schedule="cosine"), place, 0, [1e-3, 1e-3, 1e-2], 2)
    assert falling.loss_KS[0][0] != twice.loss_KS[0][0], "under the schedule that is set"
    assert best(twice.rate_S, np.array([np.nan, 0.3, 0.2])) == 1e-2


def test_of_many_rows_a_part_is_enough(tmp_path: Path) -> None:
    data, place = digits(), setup(digits(), tmp_path)
    part = worker_rows(replace(place, max_rows=100))
    for x, y, whole_x, whole_y in (
        (part.x_train, part.y_train, data.x_train, data.y_train),
        (part.x_val, part.y_val, data.x_val, data.y_val),
    ):
        places = [int((whole_x == row).flatten(1).all(1).nonzero()[0]) for row in x]
        assert len(set(places)) == 100
        assert places == sorted(places)
        assert torch.equal(whole_y[places], y)
    assert len(worker_rows(replace(place, max_rows=10_000)).x_train) == len(data.x_train)
    rise = ramp(config(batch_size=32), replace(place, max_rows=100), 0, seeds=2, low=1e-6, high=10.0, steps=40)
    assert rise.loss_KS.shape == (2, 40)


def test_the_best_of_those_side_by_side_is_borne_out_by_its_neighbours() -> None:
    """A lucky rate among diverging ones is not it; one that is best by itself is, at the end too."""
    rate_S = np.geomspace(1e-4, 1, 9)
    bowl_S = 0.2 + 0.1 * (np.log10(rate_S) + 2) ** 2
    assert best(rate_S, bowl_S) == pytest.approx(1e-2)
    lucky_S = np.where(np.arange(9) > 5, np.nan, bowl_S)
    lucky_S[7] = 0.19
    assert best(rate_S, lucky_S) == pytest.approx(1e-2)
    assert best(rate_S, np.linspace(1, 0.1, 9)) == 1


def test_smoothing() -> None:
    """Constants stay; the moving average is fastai's (debiased); the trend does not lag behind a line."""
    np.testing.assert_allclose(smooth(np.full(9, 2.0)), 2.0)
    np.testing.assert_allclose(smooth(np.array([1.0, 2.0])), [1, (0.9 * 0.1 + 0.1 * 2) / (1 - 0.81)])
    line = np.arange(101.0)
    np.testing.assert_allclose(trend(line)[40:61], line[40:61], atol=1e-3)
    assert smooth(line)[60] < 52
