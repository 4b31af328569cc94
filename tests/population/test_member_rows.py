"""Members that predict from training rows: each from its own alone, to the same bits in any company and after any stop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.engine.fusing import fusing_obstacle
from src.ensembles.final_member import FinalMember
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from tests.support.training import assert_same, config, population, rows, setup, table, trained

EPOCHS = 3


def member(k: int, **changes: Any) -> Member:
    """One with dropout, averaged weights, batch norm to be measured for these, or an early stop, as `k` says."""
    sections = [{"averaging": {"ema": 0.9}}, {"early_stopping": {"patience": 1}}, {"accumulate": 2}]
    return Member(config("nca", **{"lr": 0.003 * (k + 1), "dropout": k / 10} | sections[k % 3] | changes), 10 + k)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_company_does_not_show(task: str) -> None:
    data = table(task)
    members = [replace(member(k, accumulate=1), config=member(k, accumulate=1).config) for k in range(4)]
    together = population(members, data)
    for epoch in range(EPOCHS):
        together.epoch()
        if epoch == 1:
            together.keep([3, 1, 0])
    for place, k in enumerate((3, 1, 0)):
        assert_same(trained([members[k]], data, EPOCHS)[0], together.save(place))


def test_a_saved_member_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    for k in range(3):
        trained([member(k)], table(), 2)[0].save(tmp_path / "state")
        state = Checkpoint.load(tmp_path / "state")
        assert not any("rows." in name for name in [*state.weights, *state.prediction_weights])
        assert_same(trained([member(k)], table(), 2, [state])[0], trained([member(k)], table(), 4)[0])


def test_it_learns() -> None:
    data = table("regression")
    curve = trained([Member(config("nca", lr=0.01), 0)], data, 8)[0].curves["val/rmse"]
    assert curve[-1] < 0.6 * float(data.y_val.std()) * data.meta.target_std


def test_rows_that_are_not_its_own_change_nothing() -> None:
    """Targets and inputs of the rows that a fold holds out, and of those out of a bag."""
    data = table("regression")
    n = len(data.x_train)
    holdout = np.arange(0, n, 3)
    fold = replace(member(0), rows=np.setdiff1d(np.arange(n), holdout), holdout_rows=holdout)
    bag = np.where(np.isin(np.arange(n), holdout), 0.0, 1.5).astype(np.float32)
    x, y = data.x_train.clone(), data.y_train.clone()
    y[holdout] += 5
    x[holdout, :3] -= 3
    other = replace(data, y_train=y, x_train=x)
    one, two = (trained([fold], each, 2)[0] for each in (data, other))
    assert all(torch.equal(tensor, two.weights[name]) for name, tensor in one.weights.items())
    assert torch.equal(one.predictions, two.predictions)
    ones, twos = (FinalMember.trained("bag", replace(member(0), weights=bag), one, each) for each in (data, other))
    assert np.array_equal(ones.predict(data.x_val), twos.predict(data.x_val))


@pytest.mark.parametrize("k", range(3))
def test_a_final_member_carries_its_neighbours_and_predicts_as_it_did_in_training(k: int, tmp_path: Path) -> None:
    data = table()
    rows = np.random.default_rng(k).integers(len(data.x_train), size=len(data.x_train))
    one = replace(member(k), rows=rows)
    final = FinalMember.trained("bagging-0", one, trained([one], data, 2)[0], data)
    np.testing.assert_allclose(final.predict(data.x_val), final.val_predictions, rtol=1e-4, atol=1e-5)
    line = final.to_json(tmp_path)
    again = FinalMember.from_json(tmp_path, "nca", line, data.meta)
    assert len(again.net().get_buffer("rows.x")) == len(set(rows))
    with torch.no_grad():
        np.testing.assert_allclose(again.net()(data.x_val).softmax(1), final.val_predictions, rtol=1e-3, atol=1e-4)
    out = final.with_out_of_fold_predictions(data.x_train).out_of_fold_predictions
    assert out is not None
    assert np.isnan(out[rows]).all()
    assert np.isfinite(out[np.setdiff1d(np.arange(len(out)), rows)]).all()


def test_it_is_said_why_they_train_one_after_another(tmp_path: Path) -> None:
    assert fusing_obstacle(member(0), setup(table(), tmp_path)) == "each looks up training rows of its own"


def test_two_rows_are_enough() -> None:
    data = rows(torch.randn(6, 4), torch.randn(6), 4, 2, task="regression", n_classes=0)
    assert np.isfinite(trained([Member(config("nca", batch_size=2), 0)], data, 2)[0].curves["train/loss"]).all()
