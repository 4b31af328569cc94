"""Stacked optimizers and schedules do, member by member, what those of PyTorch do."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from src.optim import SGD, AdamW, Constant, Cosine, Optimizer, Ramp, Schedule, root

K, P, STEPS = 8, 48, 50


def stacked(
    settings: list[Optimizer], start_KP: Tensor, gradient: Callable[[Tensor, int], Tensor], rates: Any
) -> Tensor:
    """Run all members as one stack; `rates` [S, K] are the learning rates of the steps."""
    kind, names = type(settings[0]), [f.name for f in fields(settings[0])]
    h = {n: torch.tensor([float(getattr(s, n)) for s in settings], dtype=torch.float64)[None, :, None] for n in names}
    h["lr"] = torch.as_tensor(rates, dtype=torch.float64)[..., None]
    step_SK1 = torch.arange(1.0, STEPS + 1, dtype=torch.float64)[:, None, None].expand(-1, K, 1)
    columns = {n: c.expand(STEPS, -1, -1).float() for n, c in kind.columns(h, step_SK1).items()}
    p_KP, state = start_KP.clone(), {n: torch.zeros(K, P) for n in kind.state}
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


def problem() -> tuple[Tensor, Callable[[Tensor, int], Tensor]]:
    """A noisy quadratic, on which a tenth of the parameters never has a gradient."""
    draw = torch.Generator().manual_seed(3)
    noise, curvature = torch.randn(STEPS, K, P, generator=draw), torch.rand(P, generator=draw)
    curvature[: P // 10] = noise[..., : P // 10] = 0
    return torch.randn(K, P, generator=draw), lambda p, step: p * curvature + noise[step]


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
ADAMS = [
    AdamW(0.1, beta1, beta2, eps, decay)
    for beta1, beta2, eps, decay in [
        (0.9, 0.999, 1e-8, 0.01),
        (0.9, 0.999, 1e-8, 0.0),
        (0.0, 0.999, 1e-8, 0.1),
        (0.5, 0.9, 1e-3, 0.01),
        (0.9, 0.99, 1e-6, 0.5),
        (0.99, 0.9999, 1e-8, 0.01),
        (0.95, 0.95, 1e-1, 1.0),
        (0.8, 0.999, 1e-10, 0.001),
    ]
]


@pytest.mark.parametrize("rates", [CONSTANT, VARIED], ids=["constant", "scheduled"])
@pytest.mark.parametrize("settings", [SGDS, ADAMS], ids=["sgd", "adamw"])
def test_fifty_steps_are_those_of_torch_optim(settings: list[Optimizer], rates: Any) -> None:
    def make(k: int, p: Tensor) -> torch.optim.Optimizer:
        s = settings[k]
        if isinstance(s, SGD):  # torch refuses Nesterov's form without momentum, where it changes nothing
            return torch.optim.SGD([p], s.lr, s.momentum, nesterov=s.nesterov, weight_decay=s.weight_decay)
        assert isinstance(s, AdamW)
        return torch.optim.AdamW([p], s.lr, (s.beta1, s.beta2), s.eps, s.weight_decay)

    start, gradient = problem()
    ours = stacked(settings, start, gradient, rates)
    theirs = one_by_one(make, start, gradient, rates)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert (ours - start).abs().amax(1).min() > 1e-3


def test_without_momentum_nesterov_s_form_is_plain_descent() -> None:
    start, gradient = problem()
    plain, nesterov = (stacked([SGD(0.1, 0.0, flag)] * K, start, gradient, CONSTANT) for flag in (False, True))
    torch.testing.assert_close(plain, nesterov, rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [SGDS, ADAMS], ids=["sgd", "adamw"])
def test_a_row_has_the_same_bits_in_any_stack(settings: list[Optimizer]) -> None:
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


# --- schedules -----------------------------------------------------------------------------------------------------------

TOTAL = 40
STEP = np.arange(TOTAL, dtype=np.float64)


def of_torch(make: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant_is_one() -> None:
    assert Constant().factor(STEP, TOTAL).tolist() == [1.0] * TOTAL


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_is_torch_s(final: float) -> None:
    theirs = of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, TOTAL, eta_min=final))
    np.testing.assert_allclose(Cosine(0.0, final).factor(STEP, TOTAL), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_cosine_after_a_warm_up_is_torch_s_sequence(share: float) -> None:
    rise = int(share * TOTAL)

    def sequence(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / (rise + 1))
        down = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: (1 + np.cos(np.pi * step / (TOTAL - rise))) / 2 * 0.95 + 0.05
        )
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [up, down], [rise])

    ours = Cosine(share, 0.05).factor(STEP, TOTAL)
    np.testing.assert_allclose(ours, of_torch(sequence), rtol=1e-9)
    assert ours.argmax() == rise
    assert (np.diff(ours[: rise + 1]) > 0).all()
    assert (np.diff(ours[rise:]) < 0).all()


@pytest.mark.parametrize("schedule", [Cosine(0.05, 0.0), Cosine(1.0, 0.0), Cosine(0.0, 1.0), Constant()])
@pytest.mark.parametrize("total", [1, 2, 3, 100])
def test_rates_stay_above_zero_and_at_most_one(schedule: Schedule, total: int) -> None:
    factor = schedule.factor(np.arange(total, dtype=np.float64), total)
    assert factor.shape == (total,)
    assert ((factor > 0) & (factor <= 1)).all()


def test_the_ramp_rises_by_equal_factors() -> None:
    factor = Ramp(1e6).factor(STEP, TOTAL)
    assert factor[0] == 1
    assert factor[-1] == pytest.approx(1e6)
    np.testing.assert_allclose(factor[1:] / factor[:-1], 1e6 ** (1 / (TOTAL - 1)))
    assert Ramp(5).factor(np.zeros(1), 1).tolist() == [1.0]
