"""Early stopping: by the rule of Keras, the best epoch is kept and exported, and neither packing nor kills show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from src.config.space import Leaf, Space
from src.engine.cross_validation import folds, mean_outcome
from src.engine.task import Outcome, Task
from src.engine.worker import train
from src.population.checkpoint import Checkpoint
from src.population.early_stopping import best_epochs, earliest, prediction_epochs, reason, stopped
from src.population.member import Member
from src.search.protocol import Spec, require_equal_epochs
from src.system.errors import UserError
from tests.support.running import Place
from tests.support.training import assert_same, config, digits, setup, trained

PATIENCE = 3
OVERFITTING = {"lr": 0.02, "width": 64, "weight_decay": 0.0, "batch_size": 16}


def member(k: int, patience: int | None = PATIENCE, **changes: Any) -> Member:
    return Member(config(**OVERFITTING | changes, early_stopping={"patience": patience}), 10 + k)


# --- the rule ----------------------------------------------------------------------------------------------------------


def keras(losses: list[float], patience: int, min_delta: float) -> tuple[int, int | None]:
    """`EarlyStopping(restore_best_weights=True)` as Keras has it: the best epoch, and the one after which it stops."""
    best, best_epoch, wait = np.inf, 0, 0
    for epoch, loss in enumerate(losses):
        wait += 1
        if loss < best - min_delta:
            best, best_epoch, wait = loss, epoch, 0
        if wait >= patience and epoch > 0:
            return best_epoch + 1, epoch + 1
    return best_epoch + 1, None


@pytest.mark.parametrize("min_delta", [0.0, 0.05])
def test_it_is_the_rule_of_keras(min_delta: float) -> None:
    draw = np.random.default_rng(0)
    for patience in range(1, 6):
        for _ in range(50):
            losses = (np.abs(np.arange(20) - draw.integers(20)) / 40 + draw.normal(0, 0.05, 20)).tolist()
            settings = config(early_stopping={"patience": patience, "min_delta": min_delta})
            ends = [n for n in range(1, 21) if stopped(settings, {"val/loss": losses[:n]})]
            best, end = keras(losses, patience, min_delta)
            worse = [*losses[:4], *[9.0] * 20]
            assert keras(worse, patience, min_delta)[1] == earliest(settings, losses[: min(4, end or 4)])
            assert (ends[0] if ends else None) == end
            assert prediction_epochs(settings, {"val/loss": losses[:end]})[-1] == best


def test_nothing_stops_without_patience_or_before_it_has_passed() -> None:
    rising = {"val/loss": [1.0, 2.0, 3.0, 4.0]}
    assert not stopped(config(), rising)
    assert not stopped(config(early_stopping={"patience": 4}), rising)
    assert stopped(config(early_stopping={"patience": 3}), rising)
    assert prediction_epochs(config(), rising) == [1, 2, 3, 4]
    assert best_epochs([3.0, 2.0, 1.95, 1.8], 0.1) == [1, 2, 2, 4]


# --- in training -------------------------------------------------------------------------------------------------------


def test_an_overfitting_run_stops_at_its_minimum_and_keeps_it(tmp_path: Path) -> None:
    where = setup(digits(), tmp_path)
    for k in range(4):
        (whole,) = trained([member(k, None)], digits(), 25)
        losses = whole.curves["val/loss"]
        task = Task(f"{k}", member(k), 25, None, tmp_path / f"{k}")
        (outcome,) = train([task], where)
        lowest = int(np.argmin(losses[: outcome.epochs])) + 1
        assert outcome.epochs == lowest + PATIENCE < 25
        assert outcome.curves["val/loss"] == losses[: outcome.epochs]
        assert outcome.prediction_curves["val/loss"][-1] == losses[lowest - 1]
        assert outcome.prediction_curves["val/accuracy"][-1] == whole.curves["val/accuracy"][lowest - 1]
        assert f"lowest after epoch {lowest} " in outcome.stopped
        state, (best,) = Checkpoint.load(task.checkpoint), trained([member(k, None)], digits(), lowest)
        assert state.epoch == outcome.epochs
        for name, tensor in best.weights.items():
            assert torch.equal(state.model_weights[name], tensor)
        assert torch.equal(state.predictions, best.predictions)
        loss = F.nll_loss(state.predictions.log(), digits().y_val).item()
        assert loss == pytest.approx(losses[lowest - 1], rel=1e-4)


@pytest.mark.parametrize("fold", [False, True])
def test_company_segments_and_kills_do_not_show(fold: bool, tmp_path: Path) -> None:
    where = setup(digits(), tmp_path)
    group = [member(k, patience, dropout=k / 20) for k, patience in enumerate((1, 2, 3, None, 4))]
    if fold:
        cut = folds(digits().y_train.numpy(), 5, 1, [str(c) for c in range(10)])
        group = [replace(m, rows=part.rows, holdout_rows=part.holdout_rows) for m, part in zip(group, cut, strict=True)]
    whole = [Task(f"w{k}", m, 12, None, tmp_path / f"w{k}") for k, m in enumerate(group)]
    alone = {k: train([task], where)[0] for k, task in enumerate(whole)}
    assert len({outcome.epochs for outcome in alone.values()}) > 2
    before: list[Path | None] = [None] * 5
    for stop in (2, 5, 9, 12):
        tasks = [Task(f"{k}", m, stop, before[k], tmp_path / f"{stop}-{k}") for k, m in enumerate(group)]
        outcomes = {int(outcome.key): outcome for outcome in train(tasks, where)}
        before = [task.checkpoint for task in tasks]
    for k, outcome in outcomes.items():
        assert outcome.prediction_curves == alone[k].prediction_curves
        assert (outcome.curves, outcome.epochs, outcome.stopped) == (alone[k].curves, alone[k].epochs, alone[k].stopped)
        assert_same(Checkpoint.load(tmp_path / f"12-{k}"), Checkpoint.load(tmp_path / f"w{k}"))
        again = train([replace(whole[k], checkpoint=tmp_path / "again", source=tmp_path / "lost")], where)
        assert_same(Checkpoint.load(tmp_path / "again"), Checkpoint.load(tmp_path / f"w{k}"))
        assert again[0].prediction_curves == outcome.prediction_curves
        (tmp_path / "again").unlink()


def test_a_fold_that_has_stopped_counts_with_what_it_kept() -> None:
    def fold(losses: list[float], patience: int) -> Outcome:
        settings = config(early_stopping={"patience": patience})
        curves = {"val/loss": losses}
        kept = {"val/loss": [losses[epoch - 1] for epoch in prediction_epochs(settings, curves)]}
        return Outcome("", len(losses), curves, 1.0, best_epoch_curves=kept, stopped=reason(settings, curves))

    short, long = fold([3.0, 1.0, 2.0], 1), fold([5.0, 4.0, 3.0, 2.0, 2.5], 1)
    whole = mean_outcome([short, long])
    assert whole.epochs == 5
    assert whole.curves["val/loss"] == [4.0, 2.5, 2.5, 1.5, 1.75]
    assert whole.prediction_curves["val/loss"] == [4.0, 2.5, 2.0, 1.5, 1.5]
    assert whole.stopped == "stopped early: its folds after 3, 5 epochs"
    assert mean_outcome([short, fold([5.0, 4.0, 3.0, 2.0, 1.5], 1)]).stopped == ""


def test_strategies_by_which_all_train_equally_long_refuse_it() -> None:
    for name in ("pbt", "replay"):
        wanted = rf"^training\.early_stopping\.patience: search={name} .*set training\.early_stopping\.patience=null$"
        with pytest.raises(UserError, match=wanted):
            require_equal_epochs(Spec(Space(Leaf(member(0).config.to_json(), {})), "minimize", 4, 9, 0), name)
    require_equal_epochs(Spec(Space(Leaf(member(0, None).config.to_json(), {})), "minimize", 4, 9, 0), "pbt")


# --- in a sweep --------------------------------------------------------------------------------------------------------

SWEEP = ["model.width=64", "optimizer.lr=0.02", "optimizer.weight_decay=0", "batch_size=32", "schedule=constant"]
SWEEP += ["space.optimizer=null", "training.early_stopping.patience=2", "n_trials=6", "epochs=15"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [["search=asha", "slots=3"], ["search=random", "objective.folds=2"]])
def test_one_worker_and_two_leave_the_same_table(more: list[str], prepared: Path, tmp_path: Path) -> None:
    places = [Place(tmp_path / str(workers), prepared) for workers in (1, 2)]
    for workers, place in enumerate(places, start=1):
        place.run(*SWEEP, *more, f"workers={workers}")
    one, two = places
    for name in ("trials.csv", "curves.csv", "progress.csv"):
        assert (one.out / name).read_bytes() == (two.out / name).read_bytes()
    early = [row for row in one.rows() if row["diagnosis"].startswith("stopped early")]
    assert early
    for row in early:
        assert row["state"] == "complete"
        assert int(row["epochs"]) < 15
        own = [r for r in one.rows("curves") if r["number"] == row["number"]]
        assert len(own) == int(row["epochs"])
        if "objective.folds=2" not in more:
            best = min(own, key=lambda r: float(r["val/loss"]))
            assert float(row["value"]) == float(best["val/accuracy"])
            weights = one.out / "weights" / f"{row['number']}.safetensors"
            assert weights.exists()
    y_val = np.load(prepared / "digits" / "y_val.npy")
    predictions = np.load(one.out / "predictions.npz")
    if "objective.folds=2" not in more:
        for row in early:
            assert (predictions[row["number"]].argmax(1) == y_val).mean() == pytest.approx(float(row["value"]))
