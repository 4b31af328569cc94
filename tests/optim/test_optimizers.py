"""Stacked optimizers do, member by member, what those of PyTorch do."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from src.optim.optimizer import Optimizer, rate_scale, root
from src.optim.optimizers.adagrad import Adagrad
from src.optim.optimizers.adam import Adam
from src.optim.optimizers.adamw import AdamW
from src.optim.optimizers.lion import Lion
from src.optim.optimizers.nadam import NAdam
from src.optim.optimizers.rmsprop import RMSprop
from src.optim.optimizers.sgd import SGD
from tests.support.training import config

K, P, STEPS = 8, 48, 100


def stacked(
    settings: list[Optimizer], start_KP: Tensor, gradient: Callable[[Tensor, int], Tensor], rates: Any
) -> Tensor:
    """Run all members as one stack; `rates` [S, K] are the learning rates of the steps."""
    kind, names = type(settings[0]), [f.name for f in fields(settings[0])]
    h = {n: torch.tensor([float(getattr(s, n)) for s in settings], dtype=torch.float64)[None, :, None] for n in names}
    h["lr"] = torch.as_tensor(rates, dtype=torch.float64)[..., None]
    step_SK1 = torch.arange(1.0, STEPS + 1, dtype=torch.float64)[:, None, None].expand(-1, K, 1)
    columns = {n: c.expand(STEPS, -1, -1).to(start_KP) for n, c in kind.columns(h, step_SK1).items()}
    p_KP, state = start_KP.clone(), {n: torch.zeros_like(start_KP) for n in kind.state}
    for step in range(STEPS):
        kind.update(p_KP, gradient(p_KP, step), state, {n: c[step] for n, c in columns.items()})
    return p_KP


def one_by_one(
    make: Callable[[int, Tensor], torch.optim.Optimizer],
    start_KP: Tensor,
    gradient: Callable[[Tensor, int], Tensor],
    rates: Any,
) -> Tensor:
    rows = []
    for k in range(K):
        p = start_KP[k].clone().requires_grad_()
        optimizer = make(k, p)
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = float(rates[step, k])
            whole = start_KP.clone()
            whole[k] = p.detach()
            p.grad = gradient(whole, step)[k].clone()
            optimizer.step()
        rows.append(p.detach())
    return torch.stack(rows)


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Callable[[Tensor, int], Tensor]]:
    """A noisy quadratic, on which a tenth of the parameters never has a gradient."""
    draw = torch.Generator().manual_seed(3)
    noise, curvature = torch.randn(STEPS, K, P, generator=draw), torch.rand(P, generator=draw)
    curvature[: P // 10] = noise[..., : P // 10] = 0
    noise, curvature = noise.to(dtype), curvature.to(dtype)
    return torch.randn(K, P, generator=draw).to(dtype), lambda p, step: p * curvature + noise[step]


CONSTANT = np.geomspace(1e-4, 1e-1, K)[None].repeat(STEPS, 0)
VARIED = CONSTANT * np.linspace(1, 0.1, STEPS)[:, None]
SGDS = [
    SGD(0.1, momentum, nesterov, decay)
    for momentum, nesterov, decay in [
        (0.0, False, 0.0),
        (0.9, False, 0.0),
        (0.9, True, 0.0),
        (0.0, False, 0.1),
        (0.5, True, 0.01),
        (0.99, False, 0.5),
        (0.99, True, 1e-4),
        (0.3, True, 0.3),
    ]
]
BETAS = [  # beta1, beta2, eps, weight decay
    (0.9, 0.999, 1e-8, 0.01),
    (0.9, 0.999, 1e-8, 0.0),
    (0.0, 0.999, 1e-8, 0.1),
    (0.5, 0.9, 1e-3, 0.01),
    (0.9, 0.99, 1e-6, 0.5),
    (0.99, 0.9999, 1e-8, 0.01),
    (0.95, 0.95, 1e-1, 1.0),
    (0.8, 0.999, 1e-10, 0.001),
]
SETTINGS: dict[str, list[Optimizer]] = {
    "sgd": SGDS,
    "adamw": [AdamW(0.1, *betas) for betas in BETAS],
    "adam": [Adam(0.1, *betas) for betas in BETAS],
    "nadam": [NAdam(0.1, *betas, 0.004 * k) for k, betas in enumerate(BETAS)],
    "lion": [Lion(0.1, beta1, beta2, decay) for beta1, beta2, _, decay in BETAS],
    "rmsprop": [
        RMSprop(0.1, *rest)  # alpha, momentum, eps, weight decay
        for rest in [
            (0.99, 0.0, 1e-8, 0.0),
            (0.99, 0.9, 1e-8, 0.0),
            (0.9, 0.5, 1e-3, 0.1),
            (0.5, 0.95, 1e-8, 0.01),
            (0.999, 0.0, 1e-6, 0.5),
            (0.95, 0.7, 1e-10, 0.001),
            (0.0, 0.3, 1e-1, 1.0),
            (0.9, 0.8, 1e-8, 1e-4),
        ]
    ],
    "adagrad": [Adagrad(0.1, k / 20, 10.0 ** (k - 10), decay) for k, (*_, decay) in enumerate(BETAS)],
}


class LionOfThePaper(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al. 2023; torch has none."""

    def __init__(self, p: Tensor, s: Lion) -> None:
        super().__init__([p], {"lr": s.lr})
        self.p, self.s, self.m = p, s, torch.zeros_like(p)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        g, s, eta = self.p.grad, self.s, self.param_groups[0]["lr"]
        assert g is not None
        c = s.beta1 * self.m + (1 - s.beta1) * g
        self.p -= eta * (c.sign() + s.weight_decay * self.p)
        self.m = s.beta2 * self.m + (1 - s.beta2) * g


def of_torch(s: Optimizer, p: Tensor) -> torch.optim.Optimizer:
    match s:
        case SGD():  # torch refuses Nesterov's form without momentum, where it changes nothing
            return torch.optim.SGD([p], s.lr, s.momentum, nesterov=s.nesterov, weight_decay=s.weight_decay)
        case RMSprop():
            return torch.optim.RMSprop([p], s.lr, s.alpha, s.eps, s.weight_decay, s.momentum)
        case Adagrad():
            return torch.optim.Adagrad([p], s.lr, s.lr_decay, s.weight_decay, eps=s.eps)
        case NAdam():
            return torch.optim.NAdam([p], s.lr, (s.beta1, s.beta2), s.eps, s.weight_decay, s.momentum_decay)
        case Adam() | AdamW():
            kind = torch.optim.Adam if isinstance(s, Adam) else torch.optim.AdamW
            return kind([p], s.lr, (s.beta1, s.beta2), s.eps, s.weight_decay)
        case Lion():
            return LionOfThePaper(p, s)
    raise AssertionError(s)


@pytest.mark.parametrize("rates", [CONSTANT, VARIED], ids=["constant", "scheduled"])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_hundred_steps_are_those_of_torch_optim(name: str, dtype: torch.dtype, rates: Any) -> None:
    """In double precision the formula shows; in single precision two of them round otherwise than torch does."""
    within = 1e-7 if dtype == torch.float64 else 3e-5 if name in ("lion", "rmsprop") else 1e-6
    settings = SETTINGS[name]
    start, gradient = problem(dtype)
    ours = stacked(settings, start, gradient, rates)
    theirs = one_by_one(lambda k, p: of_torch(settings[k], p), start, gradient, rates)
    torch.testing.assert_close(ours, theirs, rtol=within, atol=within)
    assert (ours - start).abs().amax(1).min() > 1e-3


def test_without_momentum_nesterov_s_form_is_plain_descent() -> None:
    start, gradient = problem()
    plain, nesterov = (stacked([SGD(0.1, 0.0, flag)] * K, start, gradient, CONSTANT) for flag in (False, True))
    torch.testing.assert_close(plain, nesterov, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_row_has_the_same_bits_in_any_stack(name: str) -> None:
    settings = SETTINGS[name]
    start, gradient = problem()
    whole = stacked(settings, start, gradient, CONSTANT)
    turned = stacked(
        settings[::-1], start.flip(0), lambda p, s: gradient(p.flip(0), s).flip(0), CONSTANT[:, ::-1].copy()
    )
    assert torch.equal(turned.flip(0), whole)


def test_the_root_is_the_root() -> None:
    x = torch.cat([torch.zeros(5), torch.logspace(-30, 30, 1001)])
    exact = x.double().sqrt()
    ours = root(x, torch.empty_like(x)).double()
    assert (ours[:5] == 0).all()
    assert ((ours - exact).abs()[5:] <= 3e-7 * exact[5:]).all()


@pytest.mark.parametrize(("rule", "scale"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_the_rate_follows_the_batch_size_by_the_rule(rule: str, scale: float) -> None:
    scaled = config().with_optimizer(batch_scaling={"rule": rule, "base_batch": 32})
    assert rate_scale(replace(scaled, batch_size=128)) == scale
    assert rate_scale(replace(scaled, batch_size=32)) == 1
    assert rate_scale(replace(scaled, batch_size=8)) == 1 / scale
    assert rate_scale(replace(scaled, batch_size=8, optimizer={})) == 1
