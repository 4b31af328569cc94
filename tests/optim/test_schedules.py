"""Schedules are those of PyTorch, in factors of the member's own rate and in epochs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.optim import lr_scheduler as theirs

from src.engine.rate_ramp import Ramp
from src.optim.schedule import Cyclic, Position, Schedule
from src.optim.schedules.constant import Constant
from src.optim.schedules.cosine import Cosine
from src.optim.schedules.coslog4 import Coslog4
from src.optim.schedules.exp_range import ExpRange
from src.optim.schedules.exponential import Exponential
from src.optim.schedules.flat_cos import FlatCos
from src.optim.schedules.one_cycle import OneCycle
from src.optim.schedules.plateau import Plateau
from src.optim.schedules.sgdr import SGDR
from src.optim.schedules.step import Step
from src.optim.schedules.triangular import Triangular
from src.optim.schedules.triangular2 import Triangular2

EPOCHS, PER_EPOCH = 10, 10
STEPS = EPOCHS * PER_EPOCH


def run(epochs: int = EPOCHS, per_epoch: int = PER_EPOCH, **curves: Sequence[float]) -> Position:
    return Position(np.arange(epochs * per_epoch, dtype=np.float64), per_epoch, epochs, curves)


def of_torch(make: Callable[[torch.optim.Optimizer], Any]) -> NDArray[np.float64]:
    """Rates and momenta [2, S] of a scheduler that is called after every step; the peaks are 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(STEPS):
        found.append([optimizer.param_groups[0][key] for key in ("lr", "momentum")])
        optimizer.step()
        scheduler.step()
    return np.array(found).T


def cyclic(mode: str, **more: Any) -> Callable[[torch.optim.Optimizer], Any]:
    """Up in 15 steps, down in 15."""
    momentum = {"base_momentum": 0.85, "max_momentum": 1.0}
    return lambda o: theirs.CyclicLR(o, 0.2, 1.0, 15, mode=mode, **momentum, **more)


def cycle(o: torch.optim.Optimizer, share: float, **more: float) -> Any:
    return theirs.OneCycleLR(o, 1.0, STEPS, pct_start=share, max_momentum=1.0, **more)


PAIRS: dict[str, tuple[Schedule, Callable[[torch.optim.Optimizer], Any]]] = {
    "constant": (Constant(), lambda o: theirs.ConstantLR(o, factor=1.0)),
    "step": (Step(0.7, 0.5), lambda o: theirs.StepLR(o, 7, 0.5)),
    "step-third": (Step(0.3, 0.9), lambda o: theirs.StepLR(o, 3, 0.9)),
    "exponential": (Exponential(0.7), lambda o: theirs.ExponentialLR(o, 0.7 ** (1 / PER_EPOCH))),
    "cosine": (Cosine(), lambda o: theirs.CosineAnnealingLR(o, STEPS)),
    "cosine-final": (Cosine(0.0, 0.1), lambda o: theirs.CosineAnnealingLR(o, STEPS, eta_min=0.1)),
    "one_cycle": (OneCycle(0.3, 0.04, 4e-6, 0.85), lambda o: cycle(o, 0.3, base_momentum=0.85)),
    "one_cycle-late": (
        OneCycle(0.75, 0.1, 0.01, 0.5),
        lambda o: cycle(o, 0.75, base_momentum=0.5, div_factor=10, final_div_factor=10),
    ),
    "one_cycle-at-once": (OneCycle(0.0, 0.1, 4e-6, 1.0), lambda o: cycle(o, 0.0, base_momentum=1.0, div_factor=25)),
    "triangular": (Triangular(3.0, 0.2, 0.85), cyclic("triangular")),
    "triangular2": (Triangular2(3.0, 0.2, 0.85), cyclic("triangular2")),
    "exp_range": (ExpRange(3.0, 0.2, 0.85, 0.8), cyclic("exp_range", gamma=0.8 ** (1 / PER_EPOCH))),
    "sgdr": (SGDR(1.3), lambda o: theirs.CosineAnnealingWarmRestarts(o, 13)),
    "sgdr-growing": (SGDR(0.7, 2.0, 0.1), lambda o: theirs.CosineAnnealingWarmRestarts(o, 7, 2, eta_min=0.1)),
    "sgdr-tripling": (SGDR(0.3, 3.0, 0.0), lambda o: theirs.CosineAnnealingWarmRestarts(o, 3, 3)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_hundred_steps_are_those_of_torch(name: str) -> None:
    ours, make = PAIRS[name]
    rates, momenta = of_torch(make)
    np.testing.assert_allclose(ours.factor(run()), rates, rtol=1e-6, atol=1e-6)
    if isinstance(ours, Cyclic):
        np.testing.assert_allclose(ours.momentum_factor(run()), momenta, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_cosine_after_a_warm_up_is_torch_s_sequence(share: float) -> None:
    rise = int(share * STEPS)

    def sequence(optimizer: torch.optim.Optimizer) -> Any:
        up = theirs.LambdaLR(optimizer, lambda step: (step + 1) / (rise + 1))
        down = theirs.LambdaLR(optimizer, lambda step: (1 + np.cos(np.pi * step / (STEPS - rise))) / 2 * 0.95 + 0.05)
        return theirs.SequentialLR(optimizer, [up, down], [rise])

    ours = Cosine(share, 0.05).factor(run())
    np.testing.assert_allclose(ours, of_torch(sequence)[0], rtol=1e-9)
    assert ours.argmax() == rise


LOSSES = [
    1.0,
    0.8,
    0.79,
    0.81,
    0.9,
    0.79,
    0.5,
    0.5,
    0.6,
    0.4999,
    0.7,
    0.3,
    0.2,
    0.21,
    0.22,
    0.23,
    0.24,
    0.25,
    0.26,
    0.1,
]


@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("cooldown", [0, 3])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_the_plateau_is_torch_s(patience: int, cooldown: int, final: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = theirs.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=0.01, cooldown=cooldown, min_lr=final, eps=0
    )
    ours = Plateau(0.5, patience, 0.01, cooldown, final)
    for epoch, loss in enumerate(LOSSES):
        found = ours.factor(run(**{"val/loss": LOSSES[:epoch]}))
        np.testing.assert_allclose(found, optimizer.param_groups[0]["lr"], rtol=1e-12)
        assert found.shape == (STEPS,)
        scheduler.step(loss)
    assert optimizer.param_groups[0]["lr"] < 0.6


ALL = (
    [ours for ours, _ in PAIRS.values()]
    + [FlatCos(), FlatCos(0.3, 0.1), Coslog4()]
    + [Plateau(), Cosine(0.1), SGDR(1.3, 1.7), Ramp(10)]
)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_the_batch_size_does_not_change_the_rate_of_an_epoch(schedule: Schedule) -> None:
    """But by a step at most: at the middle of each epoch the rate is that of 100 times smaller batches."""
    coarse, fine = (schedule.factor(run(EPOCHS, n)) for n in (64, 6400))
    np.testing.assert_allclose(coarse[32::64], fine[3200::6400], atol=0.2 if isinstance(schedule, Ramp) else 0.03)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_an_epoch_is_a_part_of_the_run(schedule: Schedule) -> None:
    """What is asked for an epoch alone is what it is within the whole."""
    whole = run()
    for epoch in range(EPOCHS):
        part = Position(whole.step[epoch * PER_EPOCH :][:PER_EPOCH], PER_EPOCH, EPOCHS, {})
        assert (schedule.factor(part) == schedule.factor(whole)[epoch * PER_EPOCH :][:PER_EPOCH]).all()


def test_coslog4_is_the_paper_s() -> None:
    """Peaks and ends of its four periods, of which each takes twice as long (Holzmüller et al. 2024, §3)."""
    at = run(15, 1000)
    factor = Coslog4().factor(at)
    for end, peak in zip(Coslog4().ends(15), (2**0.5 - 1, 2**1.5 - 1, 2**2.5 - 1, 2**3.5 - 1), strict=True):
        assert factor[round(1000 * peak)] == pytest.approx(1, abs=1e-4)
        assert factor[round(1000 * end) - 1] < 1e-3
    share = at.step / at.total
    np.testing.assert_allclose(factor, (1 - np.cos(2 * np.pi * np.log2(1 + 15 * share))) / 2, rtol=0, atol=1e-4)


def test_flat_cos_is_constant_and_then_a_cosine() -> None:
    factor = FlatCos(0.5).factor(run(10, 10))
    assert (factor[:51] == 1).all()
    np.testing.assert_allclose(factor[50:], Cosine().factor(run(5, 10)))


def test_restarts_grow_by_any_factor() -> None:
    factor, length, start = SGDR(1.0, 1.5).factor(run(12, 1000)), 1.0, 0.0
    while start + length < 12:
        assert factor[round(1000 * start)] == pytest.approx(1, abs=1e-5)
        assert factor[round(1000 * (start + length / 2))] == pytest.approx(0.5, abs=2e-3)
        assert factor[round(1000 * (start + length)) - 2] < 1e-4
        start, length = start + length, length * 1.5


@pytest.mark.parametrize("total", [1, 2, 3, 100])
@pytest.mark.parametrize("schedule", [*ALL[:-1], Cosine(0.05), Cosine(1.0), Cosine(0, 1), OneCycle(1.0)], ids=repr)
def test_rates_and_momenta_stay_above_zero_and_at_most_one(schedule: Schedule, total: int) -> None:
    for at in (run(total, 1), run(1, total)):
        assert ((schedule.factor(at) > 0) & (schedule.factor(at) <= 1)).all()
        if isinstance(schedule, Cyclic):
            assert ((schedule.momentum_factor(at) > 0) & (schedule.momentum_factor(at) <= 1)).all()


def test_the_ramp_rises_by_equal_factors() -> None:
    factor = Ramp(1e6).factor(run(1, 40))
    assert factor[0] == 1
    assert factor[-1] == pytest.approx(1e6)
    np.testing.assert_allclose(factor[1:] / factor[:-1], 1e6 ** (1 / 39))
    assert Ramp(5).factor(run(1, 1)).tolist() == [1.0]
