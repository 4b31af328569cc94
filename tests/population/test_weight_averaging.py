"""Averages of the weights: equal to torch's own, shown in the place of the weights, which train on as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from src.models.building import build
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.rows import Rows
from src.population.seeds import derived_seed
from tests.support.training import assert_same, config, digits, images, population, trained

EPOCHS = 6
EMA, SWA = {"ema": 0.93}, {"swa": 0.5}


def by_torch(member: Member, data: Rows, orders: list[Tensor]) -> tuple[nn.Module, list[float]]:
    """The same training as its documentation has it; the average, and its validation loss after every epoch."""
    torch.manual_seed(derived_seed(member.seed, "initial weights"))
    model, settings = build(member.config.model, data.meta), member.config
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.lr, momentum=0.9)
    decay = settings.training.averaging.ema
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay) if decay else None)
    losses = []
    for epoch, order in enumerate(orders, start=1):
        model.train()
        for rows in order.split(settings.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(data.x_train[rows]), data.y_train[rows]).backward()
            optimizer.step()
            if decay:
                average.update_parameters(model)
        begun = bool(decay) or epoch > settings.training.averaging.swa * settings.epochs
        if begun and not decay:
            average.update_parameters(model)
        shown = average if begun else model
        if begun:
            update_bn([data.x_train[rows] for rows in order.split(settings.batch_size)], average)
        with torch.no_grad():
            losses.append(F.cross_entropy(shown.eval()(data.x_val), data.y_val).item())
    return average.module, losses


@pytest.mark.parametrize("averaging", [EMA, SWA], ids=["ema", "swa"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_they_are_torchs(averaging: Mapping[str, Any], norm: str, model: str) -> None:
    data = digits() if model == "mlp" else images()
    sgd = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    one = Member(config(model, optimizer="sgd", lr=0.03, epochs=EPOCHS, norm=norm, averaging=averaging, **sgd), 5)
    group = population([one], data)
    orders = []
    for _ in range(EPOCHS):
        orders.append(group.next_order()[0])
        group.epoch()
    state = group.save(0)
    wanted, losses = by_torch(one, data, orders)
    assert state.curves["val/loss"] == pytest.approx(losses, rel=1e-4)
    for name, tensor in wanted.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(state.model_weights[name], tensor, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(state.predictions, wanted.eval()(data.x_val).softmax(1), rtol=1e-3, atol=1e-6)


def test_batch_norm_is_measured_on_batches_as_large_as_those_it_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = {"factor": 4.0, "at": [0.5]}
    one = population([Member(config(norm="batch", averaging=EMA, batch_growth=growth, epochs=2), 0)], digits())
    measured: list[int] = []
    outputs = one.stack.outputs_for_rows

    def watched(rows: Tensor) -> Tensor:
        measured.append(rows.shape[1])
        return outputs(rows)

    monkeypatch.setattr(one.stack, "outputs_for_rows", watched)
    largest = []
    for _ in range(2):
        one.epoch()
        largest.append(max(measured))
        measured.clear()
    assert largest[1] == 4 * largest[0]


def test_the_weights_train_on_as_if_there_were_no_average() -> None:
    for averaging in (EMA, SWA):
        changes = {"norm": "batch", "dropout": 0.2, "epochs": EPOCHS}
        (with_one,) = trained([Member(config(averaging=averaging, **changes), 3)], digits(), EPOCHS)
        (without,) = trained([Member(config(**changes), 3)], digits(), EPOCHS)
        assert with_one.curves["train/loss"] == without.curves["train/loss"]
        for name, tensor in without.weights.items():
            assert torch.equal(with_one.weights[name], tensor), name
            assert torch.equal(without.model_weights[name], tensor)
        differ = [not torch.equal(with_one.model_weights[name], tensor) for name, tensor in without.weights.items()]
        assert sum(differ) == len(differ) - 2  # but for the numbers of batches, of which it has two


def test_before_an_swa_begins_there_is_none() -> None:
    for epoch in range(1, EPOCHS + 1):
        (state,) = trained([Member(config(epochs=EPOCHS, averaging=SWA), 3)], digits(), epoch)
        same = all(torch.equal(state.weights[name], tensor) for name, tensor in state.model_weights.items())
        assert same == (epoch <= EPOCHS / 2 + 1)  # the mean of one is that one


@pytest.mark.parametrize("averaging", [EMA, SWA], ids=["ema", "swa"])
def test_a_killed_member_goes_on_as_if_nothing_had_happened(averaging: Mapping[str, Any], tmp_path: Path) -> None:
    one = Member(config(norm="batch", dropout=0.1, epochs=EPOCHS, averaging=averaging), 3)
    (undisturbed,) = trained([one], digits(), EPOCHS)
    state: Checkpoint | None = None
    for epoch in range(EPOCHS):
        (state,) = trained([one, Member(config(norm="batch"), 4)], digits(), 1, [state, None])[:1]
        state.save(tmp_path / f"{epoch}")
        state = Checkpoint.load(tmp_path / f"{epoch}")
    assert state
    assert_same(state, undisturbed)
