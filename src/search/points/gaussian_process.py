"""A Gaussian process on the unit cube, and the improvement that is to be expected where it has no values yet."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

Floats = NDArray[np.float64]

ROOT5 = 5**0.5
JITTER = 1e-6  # on the diagonal
FIT, CLIMB = 15, 30  # iterations of L-BFGS: for the parameters, for a point
SHORT, LONG = -3.5, 5.0  # bounds of a log length scale
VARIANCE = 3.0  # of its prior
SPREAD = VARIANCE**0.5
NOISE = -5.0  # log of the noise's mode, for LogNormal(-4, 1)
FAR = 8.0  # standard deviations below the best, from where on the improvement has its asymptotic form


class GaussianProcess:
    """The posterior, given standardised values `y_N` at `x_ND`: Matérn 5/2, unit variance, a length scale a dimension.

    `groups` are the columns that share one (those of a category). Length scales and noise are the mode of their posterior
    (theirs, not their logarithms'); the prior of the scales grows with the number of dimensions (Hvarfner et al. 2024).
    """

    def __init__(self, x_ND: Floats, y_N: Floats, groups: Sequence[Sequence[int]], theta: Floats | None = None) -> None:
        """Condition on values.

        Args:
            x_ND: points in the unit cube.
            y_N: their values, standardised.
            groups: the columns that share a length scale.
            theta: logarithms of the scales and of the noise; None fits them.
        """
        self.x_ND, self.y_N, self.groups = x_ND, y_N, groups
        self.centre = 2**0.5 + np.log(len(groups)) / 2 - VARIANCE  # log of the mode of LogNormal(√2 + log(D) / 2, √3)
        self.square_GNN = self._squares(x_ND)
        self.theta = self._fitted() if theta is None else theta
        self.factor_NN = cholesky(self._noisy(_matern(self._distance(self.square_GNN))[0]), lower=True)
        self.weight_N = cho_solve((self.factor_NN, True), y_N)

    def after_mean(self, x_MD: Floats) -> "GaussianProcess":
        """The posterior after values equal to its own mean at `x_MD`, so that less is left to gain there."""
        y_N = np.append(self.y_N, self.predict(x_MD)[0])
        return GaussianProcess(np.vstack([self.x_ND, x_MD]), y_N, self.groups, self.theta)

    def predict(self, x_MD: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation [M] of the function, without the noise."""
        kernel_MN = _matern(self._distance(self._squares(x_MD)))[0]
        half_NM = solve_triangular(self.factor_NN, kernel_MN.T, lower=True)
        return kernel_MN @ self.weight_N, np.sqrt(np.maximum(1 - (half_NM * half_NM).sum(0), 1e-12))

    def log_improvement(self, x_MD: Floats, best: float) -> Floats:
        """Logarithm of the expected improvement below `best` [M] (Ament et al. 2023: it has a slope everywhere)."""
        mean_M, spread_M = self.predict(x_MD)
        return np.log(spread_M) + _log_gain((best - mean_M) / spread_M)[0]

    def climb(self, x_D: Floats, free: Sequence[int], best: float) -> Floats:
        """Climb from `x_D` in the expected improvement.

        Args:
            x_D: where it starts.
            free: the columns that may change.
            best: the value below which the improvement is counted.
        """

        def loss(u: Floats) -> tuple[float, Floats]:
            x = x_D.copy()
            x[free] = u
            improvement, slope_D = self._slope(x, best)
            return -improvement, -slope_D[free]

        optimum = minimize(
            loss, x_D[free], jac=True, method="L-BFGS-B", bounds=[(0, 1)] * len(free), options={"maxiter": CLIMB}
        )
        x = x_D.copy()
        x[free] = optimum.x
        return x

    def _slope(self, x_D: Floats, best: float) -> tuple[float, Floats]:
        """Log expected improvement of one point, and its gradient."""
        inverse_D = np.zeros(len(x_D))
        for group, scale in zip(self.groups, self.theta, strict=False):
            inverse_D[list(group)] = np.exp(-2 * scale)
        apart_ND = x_D - self.x_ND
        kernel_N, fall_N = _matern(np.sqrt(apart_ND**2 @ inverse_D))
        dkernel_ND = -2 * fall_N[:, None] * apart_ND * inverse_D
        solved_N = cho_solve((self.factor_NN, True), kernel_N)
        mean, spread = kernel_N @ self.weight_N, np.sqrt(np.maximum(1 - kernel_N @ solved_N, 1e-12))
        dmean_D, dspread_D = self.weight_N @ dkernel_ND, -(solved_N @ dkernel_ND) / spread
        z = (best - mean) / spread
        log_gain, slope = _log_gain(z)
        return float(np.log(spread) + log_gain), dspread_D / spread - slope * (dmean_D + z * dspread_D) / spread

    def _fitted(self) -> Floats:
        scales = len(self.groups)
        start = np.append(np.full(scales, self.centre), NOISE)
        bounds = [(SHORT, LONG)] * scales + [(-10.0, 0.0)]
        return np.asarray(
            minimize(self._loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": FIT}).x
        )

    def _loss(self, theta: Floats) -> tuple[float, Floats]:
        """Negative logarithm of the posterior of `theta`, but for a constant, and its gradient."""
        self.theta = theta
        kernel_NN, fall_NN = _matern(self._distance(self.square_GNN))
        factor = cholesky(self._noisy(kernel_NN), lower=True)
        inverse_NN = cho_solve((factor, True), np.eye(len(factor)))
        weight_N = inverse_NN @ self.y_N
        slope_NN = (inverse_NN - np.outer(weight_N, weight_N)) / 2  # of the loss by the kernel
        scale_G, noise = theta[:-1], theta[-1]
        apart_G, off = (scale_G - self.centre) / SPREAD, noise - NOISE
        loss = self.y_N @ weight_N / 2 + np.log(np.diag(factor)).sum() + (apart_G @ apart_G + off * off) / 2
        by_scale_G = 2 * np.exp(-2 * scale_G) * np.tensordot(self.square_GNN, slope_NN * fall_NN, 2) + apart_G / SPREAD
        return float(loss), np.append(by_scale_G, np.exp(noise) * np.trace(slope_NN) + off)

    def _noisy(self, kernel_NN: Floats) -> Floats:
        kernel_NN[np.diag_indices_from(kernel_NN)] += np.exp(self.theta[-1]) + JITTER
        return kernel_NN

    def _distance(self, square_GMN: Floats) -> Floats:
        return np.asarray(np.sqrt(np.tensordot(np.exp(-2 * self.theta[:-1]), square_GMN, 1)))

    def _squares(self, x_MD: Floats) -> Floats:
        """Squared distances to the known points, a dimension each [G, M, N]."""
        parts = ((x_MD[:, None, g] - self.x_ND[None, :, g]) ** 2 for g in map(list, self.groups))
        return np.stack([part.sum(2) for part in parts])


def _matern(r: Floats) -> tuple[Floats, Floats]:
    """The kernel at a scaled distance, and how fast it falls with the distance's square."""
    e = np.exp(-ROOT5 * r)
    return (1 + ROOT5 * r + 5 / 3 * r * r) * e, 5 / 6 * (1 + ROOT5 * r) * e


def _log_gain(z: Floats) -> tuple[Floats, Floats]:
    """log(φ(z) + zΦ(z)), the improvement in standard deviations, and its derivative."""
    near, far = np.maximum(z, -FAR), np.minimum(z, -FAR)
    gain = np.exp(-near * near / 2) / np.sqrt(2 * np.pi) + near * ndtr(near)
    tail = -far * far / 2 - np.log(2 * np.pi) / 2 - 2 * np.log(-far)
    return np.where(z > -FAR, np.log(gain), tail), np.where(z > -FAR, ndtr(near) / gain, -far - 2 / far)
