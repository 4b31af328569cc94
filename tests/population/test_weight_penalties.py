"""Penalties are their formulas, weights become zero where Lasso's do, and limits hold after every step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import ElasticNet, Ridge
from torch import Tensor, nn

from src.population.population import Population
from src.system.errors import UserError
from tests.support.training import N_TRAIN, Member, config, digits, population, rows, table, trained

PLAIN = {"optimizer": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
ALL = {"l1": 0.01, "l2": 0.02, "bias": {"l1": 0.03, "l2": 0.04}, "activity": {"l1": 0.005, "l2": 0.007}}


def first_step(group: Population) -> Tensor:
    """The gradient [K, P] with which one batch of all rows has changed the members."""
    group.stack.train_mode()
    group.step(group.next_order(), group.next_steps(1)[0])
    return group.g_KP


def formula(model: nn.Module, x: Tensor, y: Tensor, penalty: Mapping[str, Any]) -> Tensor:
    """The penalised loss as one writes it, for a net of `hidden` layers with a norm, ReLU and an `output`."""
    activities: list[Tensor] = []
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _, __, out: activities.append(out))
    loss = F.cross_entropy(model(x), y)
    for name, p in model.named_parameters():
        if ".norm." not in name:
            own = penalty if name.endswith("weight") else penalty["bias"]
            loss = loss + own["l1"] * p.abs().sum() + own["l2"] * p.square().sum()
    for a in activities:
        of_rows = penalty["activity"]["l1"] * a.abs().sum(1) + penalty["activity"]["l2"] * a.square().sum(1)
        loss = loss + of_rows.mean()
    return loss


@pytest.mark.parametrize("fused", [True, False])
def test_the_gradient_is_that_of_the_formula(fused: bool) -> None:
    member = Member(config(**PLAIN, lr=1e-3, norm="batch", batch_size=N_TRAIN, regularization=ALL), 3)
    group = population([member, member], digits(), fused=fused)
    model = population([member], digits(), fused=False).stack.modules[0].train()
    parameters = dict(model.named_parameters())
    slopes = torch.autograd.grad(formula(model, digits().x_train, digits().y_train, ALL), list(parameters.values()))
    expected = group.stack.layout.flatten(dict(zip(parameters, slopes, strict=True)))
    # at 0, where the biases begin, the formula has no gradient: of all that it may be, the nearest to 0
    of_bias = {name: torch.full_like(p, 0.03 * (".norm." not in name)) for name, p in parameters.items() if p.dim() < 2}
    most = group.stack.layout.flatten({n: torch.zeros_like(p) for n, p in parameters.items()} | of_bias)
    at_zero = group.stack.p_KP[0] == 0
    assert at_zero[most > 0].all()
    expected = torch.where(at_zero, expected - expected.clamp(-most, most), expected)
    for found in first_step(group):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("l1", "l2"), [(0.2, 0.0), (0.1, 0.1), (0.0, 0.3)])
def test_a_linear_model_becomes_scikit_learn_s_elastic_net(l1: float, l2: float) -> None:
    """The same weights, and the same of them exactly 0. Their loss is half of ours."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 20))
    y = x[:, :5] @ np.array([1.0, -0.5, 0.3, 0.1, 0.02]) + 0.3 + draw.normal(0, 0.2, 300)
    data = rows(torch.from_numpy(x).float(), torch.from_numpy(y).float(), 200, 100, n_classes=0, task="regression")
    own = Member(config("linear", **PLAIN, lr=0.1, batch_size=200, regularization={"l1": l1, "l2": l2}), 1)
    weights = trained([own, own], data, 300)[0].weights
    net = ElasticNet(alpha=l1 / 2 + l2, l1_ratio=l1 / (l1 + 2 * l2), tol=1e-8) if l1 else Ridge(alpha=200 * l2)
    net.fit(x[:200], y[:200])
    ours = weights["output.weight"][0].numpy()
    np.testing.assert_allclose(ours, net.coef_, atol=1e-5)
    np.testing.assert_array_equal(ours == 0, net.coef_ == 0)
    assert weights["output.bias"].item() == pytest.approx(net.intercept_, abs=1e-5)
    assert ((ours == 0).sum() >= 10) == (l1 > 0)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_l1_makes_the_weights_of_a_net_sparse(optimizer: str) -> None:
    """In small batches too; and what it makes small, it makes 0."""
    strengths = (0.0, 1e-3, 1e-2)
    members = [Member(config(optimizer=optimizer, lr=0.01, regularization={"l1": l1}), 1) for l1 in strengths]
    weights = [state.weights["hidden.0.linear.weight"] for state in trained(members, digits(), 30)]
    none, some, most = (float((weight == 0).float().mean()) for weight in weights)
    assert none == 0
    assert 0 < some < most / 2
    assert most > 0.5
    assert most > 0.85 * float((weights[2].abs() < 1e-3).float().mean())


def test_no_unit_s_weights_are_longer_than_max_norm_after_any_step() -> None:
    most = [0.0, 0.3, 1.0, 2.0]
    members = [Member(config(lr=0.05, width=33, norm="batch", regularization={"max_norm": m}), 2) for m in most]
    group, longest = population(members, digits()), torch.zeros(4)
    for _ in range(2):
        order_KN = group.next_order()
        group.stack.train_mode()
        for s, step in enumerate(group.next_steps(6)):
            group.step(order_KN[:, 64 * s : 64 * s + 64], step)
            views = group.stack.layout.stacked(group.stack.p_KP.detach())
            norms = [view.flatten(2).norm(dim=2) for view in views if view.dim() > 2]
            assert len(norms) == 3
            now = torch.cat(norms, 1).max(1).values
            assert (now[1:] <= torch.tensor(most[1:]) * (1 + 1e-6)).all()
            longest = torch.maximum(longest, now)
    assert longest[0] > 2.2  # without a limit
    torch.testing.assert_close(longest[1:], torch.tensor(most[1:]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_are_clipped_as_by_torch(fused: bool) -> None:
    limits, data = [0.0, 0.1, 1.0, 100.0], digits()
    members = [Member(config(**PLAIN, batch_size=N_TRAIN, training={"clip_norm": limit}), 5) for limit in limits]
    found = first_step(group := population(members, data, fused=fused))
    for k, limit in enumerate(limits):
        model = population([members[k]], data, fused=False).stack.modules[0].train()
        F.cross_entropy(model(data.x_train), data.y_train).backward()
        if limit:
            torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        torch.testing.assert_close(found[k], group.stack.layout.flatten(gradients), rtol=1e-5, atol=1e-7)
    assert torch.equal(found[0], found[3])
    assert found[1].norm() == pytest.approx(0.1, rel=1e-4)


def test_decoupled_decay_shrinks_weights_by_the_rate_alone() -> None:
    """`optimizer.weight_decay` of adamw and lion: times 1 - lr · decay a step, whatever the gradient."""
    for optimizer in ("adamw", "lion"):
        with_decay, without = (
            population([Member(config(optimizer=optimizer, lr=0.01, weight_decay=d, batch_size=N_TRAIN), 1)], digits())
            for d in (0.5, 0.0)
        )
        begin = with_decay.stack.p_KP.clone()
        for group in (with_decay, without):
            first_step(group)
        torch.testing.assert_close(without.stack.p_KP - with_decay.stack.p_KP, begin * 0.005, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
def test_an_activity_penalty_quiets_the_layers_that_learn(fused: bool) -> None:
    penalties = [{"activity": {"l1": l1, "l2": 0.0}} for l1 in (0.0, 1.0)]
    members = [Member(config({"_target_": "tests.support.zoo.Rectified"}, regularization=own), 1) for own in penalties]
    without, quiet = (
        (state.weights["again.weight"], state.weights["first.weight"])
        for state in trained(members, digits(), 10, fused=fused)
    )
    assert torch.equal(without[1], quiet[1])
    hidden = (digits().x_train @ quiet[1].t()).relu()
    loud, soft = ((hidden @ again.t()).relu().mean() for again, _ in (without, quiet))
    assert soft < loud / 2


def test_an_activity_penalty_needs_activations() -> None:
    member = Member(config("linear", regularization={"activity": {"l1": 0.1, "l2": 0.0}}), 1)
    with pytest.raises(UserError, match=r"training\.regularization\.activity\.l1: 0\.1 is for activation layers"):
        population([member], table())
