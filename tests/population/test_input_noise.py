"""Noise and mixup: what they do to rows, and that the loss is that of mixed targets."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest

from src.population.hashing import random_bits, uniform
from src.population.input_noise import Inputs, quantiles
from tests.support.training import CARDINALITIES, Member, config, digits, population, table

CPU = torch.device("cpu")


def inputs(data: Any, *training: dict[str, float]) -> Inputs:
    return Inputs([Member(config(training=own), 4 + k) for k, own in enumerate(training)], data.meta, CPU)


def test_random_numbers_are_uniform_and_independent() -> None:
    u_KN = uniform(random_bits(torch.tensor([1, 2, 3, -5], dtype=torch.int32), 20_000)).double()
    for u_N in u_KN:
        assert kstest(u_N.numpy(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(np.concatenate([u_KN.numpy(), u_KN.roll(1, 1).numpy(), u_KN.roll(7, 1).numpy()]))
    assert np.abs(correlation - np.eye(12)).max() < 4 / 20_000**0.5


def test_noise_is_gaussian_on_numbers_and_spares_categories() -> None:
    data = table()
    chain = inputs(data, {"noise": 0.0}, {"noise": 0.5}, {"noise": 2.0})
    x_KB, index_KB = data.x_train.expand(3, -1, -1), torch.arange(len(data.x_train)).expand(3, -1)
    steps = chain.columns([0, 3, 3], 12)
    noise = torch.cat([chain(x_KB, index_KB, {n: c[s] for n, c in steps.items()}) - x_KB for s in range(12)], 1)
    numbers = noise.shape[2] - len(CARDINALITIES)
    assert not noise[0].any()
    assert not noise[..., numbers:].any()
    for k, std in ((1, 0.5), (2, 2.0)):
        assert kstest(noise[k, :, :numbers].flatten().numpy() / std, "norm").pvalue > 0.01


def test_quantiles_are_those_of_the_normal_distribution() -> None:
    values = quantiles(CPU).double()
    assert values.mean().item() == pytest.approx(0, abs=1e-9)
    assert values.std().item() == pytest.approx(1, abs=1e-4)


def test_mixup_s_shares_follow_beta() -> None:
    chain = inputs(digits(), {"mixup": 0.0}, {"mixup": 0.3}, {"mixup": 2.0})
    shares = chain.columns([5, 5, 5], 2000)["share"][..., 0].numpy()
    assert (shares[:, 0] == 1).all()
    for k, alpha in ((1, 0.3), (2, 2.0)):
        assert kstest(shares[:, k], "beta", args=(alpha, alpha)).pvalue > 0.01


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_gradient_is_that_of_mixed_rows_and_mixed_targets(task: str, weighted: bool) -> None:
    """Zhang et al. 2018, equation (1); each row with the one before it."""
    data, draw = table(task), np.random.default_rng(1)
    weights = draw.uniform(0.5, 1.5, len(data.x_train)).astype(np.float32) if weighted else None
    plain = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
        "batch_size": len(data.x_train),
    }
    member = Member(config(**plain, training={"mixup": 1.0}), 8, weights=weights)
    group = population([member, member], data)
    order, step = group.next_order(), group.next_steps(1)[0]
    share = step["share"][0].item()
    model = population([member], data, fused=False).stack.modules[0].train()
    group.stack.train_mode()
    group.step(order, step)

    x, y = data.x_train[order[0]], data.y_train[order[0]]
    mixed = share * x + (1 - share) * x.roll(1, 0)
    mixed[:, 4:] = (x if share >= 0.5 else x.roll(1, 0))[:, 4:]
    target = (F.one_hot(y, 3) if task == "classification" else y[:, None]).float()
    w = torch.ones(len(x)) if weights is None else torch.from_numpy(weights)[order[0]]
    out, parts = model(mixed), ((share, target, w), (1 - share, target.roll(1, 0), w.roll(1)))
    if weights is None:  # mixed targets in the usual sense
        soft = share * target + (1 - share) * target.roll(1, 0)
        loss = F.cross_entropy(out, soft) if task == "classification" else F.mse_loss(out, soft)
    elif task == "classification":
        loss = sum((s * F.cross_entropy(out, t, reduction="none") * u).mean() for s, t, u in parts)
    else:
        loss = sum((s * (out - t).square()[:, 0] * u).mean() for s, t, u in parts)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(group.g_KP[0], group.stack.layout.flatten(gradients), rtol=1e-4, atol=1e-6)


def test_what_is_off_for_all_asks_for_no_random_numbers() -> None:
    chain = inputs(digits(), {"mixup": 0.0}, {"noise": 0.0})
    assert not chain.active
    assert chain.columns([0, 0], 5) == {}
