"""Hypergradients against closed forms: ridge regression, where every one is known, and penalties that find what matters."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from src.bilevel.estimators.conjugate_gradient import conjugate_gradient
from src.bilevel.estimators.neumann import neumann
from src.bilevel.estimators.one_step import one_step
from src.bilevel.estimators.unrolled import unrolled
from src.bilevel.outer_step import begin, take
from src.bilevel.problem import Problem, gradient

Estimator = Callable[[Problem, Tensor, Tensor], Tensor]
FEATURES = 8


class Ridge:
    """A ridge regression of mean squared error + λ · Σw² (each member has its log λ), judged on other rows; in 64 bits."""

    def __init__(self, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        scales, true = np.linspace(0.7, 1.4, FEATURES), draw.normal(size=FEATURES)
        x = [torch.from_numpy(draw.normal(size=(n, FEATURES)) * scales) for n in (24, 200)]
        self.y_train, self.y_outer = (
            rows @ torch.from_numpy(true) + torch.from_numpy(draw.normal(size=len(rows)) * 2.5) for rows in x
        )
        self.x_train, self.x_outer = x

    def train(self, w_KP: Tensor, log_K1: Tensor) -> Tensor:
        return _error(self.x_train, self.y_train, w_KP) + (log_K1.exp() * w_KP.square()).sum(1)

    def outer(self, w_KP: Tensor, log_K1: Tensor) -> Tensor:
        return _error(self.x_outer, self.y_outer, w_KP)

    def problem(self, log_K1: Tensor, steps: int = 1) -> Problem:
        """At the rate at which the largest eigenvalue of the Hessian is 1."""
        largest = 2 * torch.linalg.eigvalsh(self.x_train.T @ self.x_train / len(self.x_train)).max()
        return Problem([self.train] * steps, self.outer, 1 / (largest + 2 * log_K1.exp()))

    def solution(self, log_K1: Tensor) -> Tensor:
        """The minimum of the training loss in closed form [K, P]."""
        n = len(self.x_train)
        moments = self.x_train.T @ self.x_train / n + log_K1.exp()[..., None] * torch.eye(FEATURES).double()
        return torch.linalg.solve(moments, (self.x_train.T @ self.y_train / n).expand(len(log_K1), -1))

    def hypergradient(self, log_K1: Tensor) -> Tensor:
        """The derivative of the outer loss at that minimum by log λ, through the closed form itself [K, 1]."""
        log_K1 = log_K1.clone().requires_grad_()
        return torch.autograd.grad(self.outer(self.solution(log_K1), log_K1).sum(), log_K1)[0]

    def best(self) -> float:
        """The λ of the least outer loss, by ever finer grids."""
        low, high = np.log(1e-4), np.log(1e4)
        for _ in range(6):
            grid = torch.linspace(low, high, 101).double()[:, None]
            place = int(self.outer(self.solution(grid), grid).argmin())
            low, high = float(grid[max(place - 1, 0)]), float(grid[min(place + 1, 100)])
        return float(np.exp((low + high) / 2))


def _error(x: Tensor, y: Tensor, w_KP: Tensor) -> Tensor:
    return (w_KP @ x.T - y).square().mean(1)


RIDGE = Ridge()
LOGS = torch.tensor([0.003, 0.03, 0.3, 1.0, 3.0, 30.0]).double().log()[:, None]
EXACT: dict[str, Estimator] = {
    "neumann": partial(neumann, terms=200),
    "conjugate_gradient": partial(conjugate_gradient, iterations=FEATURES),
}

SHORT: dict[str, Estimator] = EXACT | {"neumann": partial(neumann, terms=20), "unrolled": unrolled}


@pytest.mark.parametrize("name", EXACT)
def test_implicit_hypergradients_are_those_of_the_closed_form(name: str) -> None:
    estimated = EXACT[name](RIDGE.problem(LOGS), RIDGE.solution(LOGS), LOGS)
    torch.testing.assert_close(estimated, RIDGE.hypergradient(LOGS), rtol=1e-3, atol=0)


def test_unrolled_to_the_end_from_zero_is_that_of_the_closed_form() -> None:
    start = torch.zeros(len(LOGS), FEATURES).double()
    estimated = unrolled(RIDGE.problem(LOGS, steps=200), start, LOGS)
    torch.testing.assert_close(estimated, RIDGE.hypergradient(LOGS), rtol=1e-3, atol=0)


def test_one_step_is_the_first_term_of_the_series_and_biased_by_the_rest() -> None:
    """It is exact far above the curvature of the features, a tenth far below, and near the best λ it has the wrong sign."""
    problem, w = RIDGE.problem(LOGS), RIDGE.solution(LOGS)
    estimated = one_step(problem, w, LOGS)
    by_weights = 2 / len(RIDGE.x_outer) * (w @ RIDGE.x_outer.T - RIDGE.y_outer) @ RIDGE.x_outer
    torch.testing.assert_close(estimated, -problem.rate_K1 * 2 * LOGS.exp() * (w * by_weights).sum(1, keepdim=True))
    shares = (estimated / RIDGE.hypergradient(LOGS)).flatten().tolist()
    assert RIDGE.best() == pytest.approx(1.08, abs=0.01)
    assert [round(share, 1) for share in shares] == [0.1, 0.1, 0.2, -4.0, 1.1, 1.0]  # at λ = 0.003, 0.03, 0.3, 1, 3, 30


def test_one_step_that_looks_ahead_is_one_step_unrolled() -> None:
    w = torch.from_numpy(np.random.default_rng(1).normal(size=(len(LOGS), FEATURES)))
    problem = RIDGE.problem(LOGS)
    torch.testing.assert_close(one_step(problem, w, LOGS, look_ahead=True), unrolled(problem, w, LOGS))
    assert not torch.allclose(one_step(problem, w, LOGS, look_ahead=True), one_step(problem, w, LOGS), rtol=1e-3)


def test_terms_at_a_minimum_are_steps_unrolled_there() -> None:
    w = RIDGE.solution(LOGS)
    steps = unrolled(RIDGE.problem(LOGS, steps=5), w, LOGS)
    torch.testing.assert_close(neumann(RIDGE.problem(LOGS), w, LOGS, terms=4), steps)


@pytest.mark.parametrize("name", SHORT)
def test_the_best_strength_is_reached_from_far_below_and_far_above(name: str) -> None:
    """Both ends are members of one problem; after every outer step the weights are at their minimum."""
    log_K1 = torch.tensor([1e-4, 1e4]).double().log()[:, None].requires_grad_()
    optimizer = torch.optim.Adam([log_K1], lr=1.0, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.93)
    for _ in range(70):
        here = log_K1.detach()
        log_K1.grad = SHORT[name](RIDGE.problem(here, steps=20), RIDGE.solution(here), here)
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(log_K1.detach().exp().flatten(), RIDGE.best(), rtol=0.05)


def test_a_strength_for_each_feature_tells_those_that_matter() -> None:
    """Logistic regression with 20 relevant features of 100, by T1–T2 while the weights train."""
    draw = np.random.default_rng(0)
    true = np.zeros(100)
    true[draw.permutation(100)[:20]] = draw.choice([-1.0, 1.0], 20)
    x = [torch.from_numpy(draw.normal(size=(1000, 100))).float() for _ in range(2)]
    y = [torch.from_numpy(draw.random(1000) < 1 / (1 + np.exp(-(part.numpy() @ true)))).float() for part in x]

    def loss(part: int, w_KP: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(x[part] @ w_KP[0], y[part])[None]

    def train(w_KP: Tensor, log_KP: Tensor) -> Tensor:
        return loss(0, w_KP) + (log_KP.exp() * w_KP.square()).sum(1)

    problem = Problem([train], lambda w, _: loss(1, w), torch.full((1, 1), 0.5))
    w_KP, log_KP, groups = torch.zeros(1, 100), torch.full((1, 100), -4.0), [slice(0, 100)]
    state = begin(log_KP, groups)
    for _ in range(160):
        w_KP = w_KP - problem.rate_K1 * gradient(train, w_KP, log_KP)
        take(log_KP, one_step(problem, w_KP, log_KP), state, groups, torch.tensor([[0.1]]))
        log_KP.clamp_(max=0)  # beyond, a step at this rate would overshoot
    assert roc_auc_score(true != 0, -log_KP[0]) >= 0.95
