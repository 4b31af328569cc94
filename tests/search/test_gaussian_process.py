"""The Gaussian process of the search, against scikit-learn's, finite differences and the definition of what it expects."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import check_grad
from scipy.stats import lognorm, norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from src.search.points.gaussian_process import JITTER, GaussianProcess
from src.search.strategies.gp import ENOUGH, at_rungs, shifted, standardised
from src.study.history import Trial

THETA = np.log([0.4, 0.9, 1.7, 1e-3])  # three length scales and the noise


def process(theta: np.ndarray | None = THETA) -> GaussianProcess:
    rng = np.random.default_rng(0)
    x_ND = rng.random((25, 3))
    y_N = np.sin(4 * x_ND[:, 0]) + x_ND[:, 1] + 0.03 * rng.standard_normal(25)
    return GaussianProcess(x_ND, (y_N - y_N.mean()) / y_N.std(), [[0], [1], [2]], theta)


def test_the_posterior_is_that_of_scikit_learn() -> None:
    model, x_MD = process(), np.random.default_rng(1).random((40, 3))
    kernel = Matern(np.exp(THETA[:-1]), nu=2.5) + WhiteKernel(np.exp(THETA[-1]))
    theirs = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None).fit(model.x_ND, model.y_N)
    mean, spread = theirs.predict(x_MD, return_std=True)
    ours = model.predict(x_MD)
    np.testing.assert_allclose(ours[0], mean, atol=1e-8)
    np.testing.assert_allclose(ours[1] ** 2 + np.exp(THETA[-1]), spread**2, atol=1e-8)  # theirs is that of a new value


def test_columns_of_a_group_share_a_length_scale() -> None:
    x_ND = np.random.default_rng(0).random((12, 2))
    together = GaussianProcess(x_ND, x_ND.sum(1), [[0, 1]], THETA[[1, 3]])
    apart = GaussianProcess(x_ND, x_ND.sum(1), [[0], [1]], THETA[[1, 1, 3]])
    np.testing.assert_allclose(together.predict(x_ND)[0], apart.predict(x_ND)[0])


@pytest.mark.parametrize("theta", [THETA, THETA + 0.7, THETA - 1.0])
def test_the_gradient_that_fits_it_is_that_of_its_loss(theta: np.ndarray) -> None:
    model = process()
    assert check_grad(lambda t: model._loss(t)[0], lambda t: model._loss(t)[1], theta) < 1e-4


def test_it_is_fitted_to_the_marginal_likelihood_and_the_priors_of_hvarfner() -> None:
    """Their densities are those of the scales and of the noise themselves, as in BoTorch."""
    model = process()
    theirs = GaussianProcessRegressor(Matern(np.ones(3), nu=2.5) + WhiteKernel(1.0), alpha=JITTER, optimizer=None)
    theirs.fit(model.x_ND, model.y_N)
    scale, noise = lognorm(3**0.5, scale=np.exp(2**0.5 + np.log(3) / 2)), lognorm(1.0, scale=np.exp(-4.0))

    def rest(theta: np.ndarray) -> float:
        prior = scale.logpdf(np.exp(theta[:3])).sum() + noise.logpdf(np.exp(theta[3]))
        return model._loss(theta)[0] + theirs.log_marginal_likelihood(theta) + prior

    constants = [rest(THETA + shift) for shift in (-1.0, 0.0, 0.4, np.array([0.3, -0.5, 1.0, 2.0]))]
    np.testing.assert_allclose(constants, constants[0], atol=1e-8)


def test_it_finds_which_dimensions_matter() -> None:
    scales = np.exp(process(None).theta)
    assert scales[0] < scales[1] < scales[2], "the first bends, the second is straight, the third has no effect"
    assert scales[3] < 0.1


@pytest.mark.parametrize("best", [-1.0, 0.0, 2.0])
def test_the_improvement_is_the_logarithm_of_the_expected_improvement(best: float) -> None:
    model, x_MD = process(), np.random.default_rng(2).random((3, 3))
    for x_1D, mean, spread in zip(x_MD[:, None], *model.predict(x_MD), strict=True):
        expected, _ = quad(lambda v, m=mean, s=spread: (best - v) * norm.pdf(v, m, s), mean - 9 * spread, best)
        if expected > 1e-12:
            assert model.log_improvement(x_1D, best)[0] == pytest.approx(np.log(expected), rel=1e-4)


@pytest.mark.parametrize("best", [0.0, -9.0])  # also where the improvement itself is 0 in floating point
def test_the_slope_of_the_improvement(best: float) -> None:
    model = process()
    for x_D in np.random.default_rng(3).random((5, 3)):
        _, slope_D = model._slope(x_D, best)
        step = np.eye(3) * 1e-6
        differences = (model.log_improvement(x_D + step, best) - model.log_improvement(x_D - step, best)) / 2e-6
        np.testing.assert_allclose(slope_D, differences, rtol=1e-3, atol=1e-4)


def test_climbing_leaves_the_other_columns_and_the_cube_alone() -> None:
    model, start = process(), np.array([0.5, 0.2, 0.9])
    top = model.climb(start, [0, 1], -1.0)
    assert top[2] == 0.9
    assert all(top >= 0)
    assert all(top <= 1)
    assert model.log_improvement(top[None], -1.0) > model.log_improvement(start[None], -1.0)


def test_a_point_in_training_is_less_promising() -> None:
    model = process()
    x_1D = model.climb(np.array([0.5, 0.5, 0.5]), [0, 1, 2], -1.0)[None]
    assert model.after_mean(x_1D).log_improvement(x_1D, -1.0) < model.log_improvement(x_1D, -1.0) - 1
    assert model.after_mean(x_1D).predict(x_1D)[0] == pytest.approx(model.predict(x_1D)[0], abs=1e-3)


# --- values of several rungs -------------------------------------------------------------------------------------------


def trial(number: int, *values: float, state: str = "paused") -> Trial:
    return Trial(number, {}, 9, 1.0, 9, state=state, values=list(values))  # type: ignore[arg-type]


def test_the_values_at_the_rungs() -> None:
    trials = [trial(0, 3.0, 2.0, 1.0), trial(1, 4.0), trial(2, 9.0, state="fail"), trial(3, float("nan"))]
    table = at_rungs(trials, [1, 3], 1)
    np.testing.assert_array_equal(table, [[3, 1], [4, np.nan], [4, np.nan], [4, np.nan]])
    np.testing.assert_array_equal(at_rungs(trials[:2], [1, 3], -1), [[-3, -1], [-4, np.nan]])


def test_with_enough_longer_trainings_the_shorter_ones_are_forgotten() -> None:
    trials = [trial(k, 5.0, 4.0, float(k)) for k in range(ENOUGH)] + [trial(99, 0.0)]
    assert np.isfinite(at_rungs(trials[1:], [1, 3], 1)[:, 0]).sum() == ENOUGH
    table = at_rungs(trials, [1, 3], 1)
    assert not np.isfinite(table[:, 0]).any()
    assert np.isfinite(table[:, 1]).sum() == ENOUGH


def test_shorter_trainings_are_moved_by_what_longer_ones_changed() -> None:
    table = np.array([[9.0, 6.0, 5.0], [8.0, 6.0, np.nan], [7.0, np.nan, np.nan]])
    np.testing.assert_allclose(shifted(table), [[5.5, 5, 5], [4.5, 5, np.nan], [3.5, np.nan, np.nan]])


def test_an_outlier_is_drawn_in() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, 1e9])
    assert standardised(values)[4] == standardised(np.array([0.0, 1.0, 2.0, 3.0, 8.0]))[4]
