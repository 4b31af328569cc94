"""The statistics of an epoch, against sums by hand; and none changes a bit of the training."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from src.population import population as engine
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.stack import Stack
from src.population.training_statistics import NAMES, ROWS, Watched
from tests.support.training import config, digits, images, population, table, tensors


def test_gradients_updates_and_the_training_metric_are_what_they_say() -> None:
    """One step an epoch on all rows: everything can be computed again from the weights before and after it."""
    data = digits(64)
    one = population([Member(config(optimizer="sgd", lr=0.1, momentum=0.0, nesterov=False, batch_size=64), 3)], data)
    before = one.save(0)
    point = one.epoch()[0]
    after = one.save(0)
    module = one.stack.modules[0]
    module.load_state_dict(before.weights)
    module.zero_grad()
    nn.functional.cross_entropy(module(data.x_train), data.y_train).backward()
    norms = {name: p.grad.norm() for name, p in module.named_parameters() if p.grad is not None}
    assert point["grad/norm"] == pytest.approx(float(torch.stack([*norms.values()]).norm()), rel=1e-4)
    ratio = norms["hidden.0.linear.weight"] / norms["output.weight"]
    assert point["grad/ratio"] == pytest.approx(float(ratio), rel=1e-4)
    moved = torch.cat([(after.weights[n] - before.weights[n]).flatten() for n in before.weights]).norm()
    length = torch.cat([before.weights[n].flatten() for n in before.weights]).norm()
    assert point["update/ratio"] == pytest.approx(float(moved / length), rel=1e-3)
    module.load_state_dict(after.weights)
    rows = np.linspace(0, 63, 8).astype(np.int64)
    right = (module(data.x_train[rows]).argmax(1) == data.y_train[rows]).float().mean()
    assert point["train/accuracy"] == pytest.approx(float(right))


@pytest.mark.parametrize(("model", "share"), [("mlp", 0.5), ("cnn", 4 / 12)])
def test_units_with_a_bias_far_below_zero_are_dead(model: str, share: float) -> None:
    """Of two layers the first: 32 of 64 units, 4 of 4 + 8 channels."""
    data = digits() if model == "mlp" else images()
    member = Member(config(model, norm="none", optimizer="sgd", lr=1e-6), 0)
    state = population([member], data).save(0)
    first = {"mlp": "hidden.0.linear.bias", "cnn": "stages.0.conv.bias"}[model]
    second = {"mlp": "hidden.1.linear.bias", "cnn": "stages.1.conv.bias"}[model]
    weights = state.weights | {first: state.weights[first] - 100, second: state.weights[second] + 100}
    for fused in (False, True):
        states = [replace(state, epoch=0, curves={}, weights=weights)] * 2
        points = population([member] * 2, data, states, fused).epoch()
        assert [point["dead/share"] for point in points] == pytest.approx([share] * 2)


def test_a_net_without_rectifiers_has_no_dead_units() -> None:
    assert "dead/share" not in population([Member(config(activation="tanh"), 0)], digits()).epoch()[0]


def test_a_regression_has_its_error_in_the_unit_of_the_target() -> None:
    data = table("regression")
    one = population([Member(config(), 0)], data)
    point = one.epoch()[0]
    rows = np.linspace(0, len(data.x_train) - 1, len(data.x_train) // 8).astype(np.int64)
    error = one.predict(data.x_train[rows])[0, :, 0] - data.y_train[rows]
    assert point["train/rmse"] == pytest.approx(7.0 * float(error.square().mean().sqrt()), rel=1e-4)
    assert len(rows) <= ROWS


@pytest.mark.parametrize("own", [False, True])
def test_they_are_the_same_alone_fused_and_resumed(own: bool) -> None:
    rows = [np.random.default_rng(k).integers(0, 420, 300) if own else None for k in range(5)]
    members = [Member(config(lr=1e-3 * (k + 1)), k, rows=rows[k]) for k in range(5)]
    together = population(members, digits())
    for _ in range(5):
        together.epoch()
    for k, member in enumerate(members):
        alone = population([member], digits())
        for _ in range(2):
            alone.epoch()
        again = population([member], digits(), [alone.save(0)])
        for _ in range(3):
            again.epoch()
        assert again.curves[0] == together.curves[k]
        assert set(NAMES) - {"train/rmse"} <= again.curves[0].keys()


def test_no_bit_of_the_training_follows_from_them(monkeypatch: Any) -> None:
    class Nothing:
        def __init__(self, stack: Stack, epochs: list[int], steps: int) -> None:
            self.size = stack.size

        def see(self, g_KP: torch.Tensor) -> None:
            pass

        def points(self, curves: object) -> list[dict[str, float]]:
            return [{} for _ in range(self.size)]

    def trained() -> list[Checkpoint]:
        group = population([Member(config(dropout=0.2 * k), k) for k in range(3)], digits())
        for _ in range(3):
            group.epoch()
        return [group.save(k) for k in range(3)]

    kept = trained()
    monkeypatch.setattr(engine, "Statistics", Nothing)
    for one, other in zip(kept, trained(), strict=True):
        assert all(torch.equal(tensor, tensors(other)[name]) for name, tensor in tensors(one).items())


def test_a_watched_model_leaves_no_hook_behind() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert Watched(model)(torch.ones(4, 2)).shape == (4 * 3 + 3,)
    assert not model[1]._forward_hooks
