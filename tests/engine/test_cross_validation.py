"""Cross-validation: folds are those of a textbook, and a trial is as if each of its members had been trained by hand."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from src.data.dataset import load
from src.engine.cross_validation import Fold, folds, mean_outcome
from src.engine.fusing import fusing_obstacle, rows
from src.engine.task import Outcome, Task
from src.engine.worker import train
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.rows import Rows
from src.population.seeds import derived_seed
from src.system.errors import UserError
from src.system.reason import Reason
from src.system.trial_config import TrialConfig
from tests.support.running import Place, end_all, kill, wait_until
from tests.support.sweeps import check_tracking
from tests.support.training import config, digits, images, population, setup, table, tensors

CLASSES = [str(k) for k in range(10)]


# --- the cut -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 7])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_folds_hold_each_row_once_and_classes_in_their_proportions(count: int, task: str) -> None:
    y = digits().y_train.numpy() if task == "classification" else np.random.default_rng(0).normal(size=420)
    cut = folds(y, count, 3, CLASSES if task == "classification" else [])
    assert sorted(np.concatenate([fold.holdout_rows for fold in cut])) == list(range(420))
    for kept, held in cut:
        assert kept is not None
        assert held is not None
        assert sorted([*kept, *held]) == list(range(420))
        assert abs(len(held) - 420 / count) < 1
        if task == "classification":
            assert (np.abs(np.bincount(y[held]) - np.bincount(y) / count) < 1).all()
    again, other = folds(y, count, 3, []), folds(y, count, 4, [])
    assert [list(f.holdout_rows) for f in again] == [list(f.holdout_rows) for f in folds(y, count, 3, [])]  # type: ignore[arg-type]
    assert list(again[0].holdout_rows) != list(other[0].holdout_rows)  # type: ignore[arg-type]
    assert list(again[0].holdout_rows) != list(range(len(again[0].holdout_rows)))  # type: ignore[arg-type]


def test_more_folds_than_rows_are_refused_in_one_sentence() -> None:
    y = np.array([0, 1, 1, 1, 0, 1])
    with pytest.raises(UserError, match=r"^objective\.folds: 3 is more than the 2 training rows of class 'no'; take"):
        folds(y, 3, 0, ["no", "yes"])
    with pytest.raises(UserError, match=r"^objective\.folds: 7 is more than the 6 training rows; take"):
        folds(y / 1.0, 7, 0, [])
    assert len(folds(y, 2, 0, ["no", "yes"])) == 2
    assert folds(y, 1, 0, ["no", "yes"]) == [Fold()]


# --- the members -------------------------------------------------------------------------------------------------------


def by_hand(member: Member, data: Rows, epochs: int) -> tuple[Checkpoint, torch.Tensor]:
    """Trained on data cut beforehand, whose validation rows are the fold; and what it predicts for the real ones."""
    assert member.rows is not None
    assert member.holdout_rows is not None
    chosen = (member.rows, member.holdout_rows)
    parts = [array[torch.from_numpy(r)] for r in chosen for array in (data.x_train, data.y_train)]
    alone = population([replace(member, rows=None, holdout_rows=None)], Rows(data.meta, *parts))
    for _ in range(epochs):
        alone.epoch()
    output = alone.predict(data.x_val)[0]
    regression = output[:, 0] * data.meta.target_std + data.meta.target_mean
    return alone.save(0), output.softmax(1) if data.classification else regression


def members(cut: list[Fold], **changes: Any) -> list[Member]:
    return [Member(config(**changes), 50 + k, kept, holdout_rows=held) for k, (kept, held) in enumerate(cut)]


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "digits": (digits, {"dropout": 0.2, "norm": "batch"}),
    "regression": (lambda: table("regression"), {"embedding": "linear", "norm": "layer"}),
    "images": (images, {"model": "cnn"}),
}


@pytest.mark.parametrize("count", [3, 4, 8])  # of 420 rows: 140 each, 105 each, 52 or 53
@pytest.mark.parametrize("case", CASES)
def test_a_population_of_folds_is_separate_runs_by_hand(case: str, count: int, tmp_path: Path) -> None:
    """Bit for bit, also going on from a checkpoint, and whatever else trains beside."""
    make, changes = CASES[case]
    here = setup(make(), tmp_path)
    data = rows(here)
    classes = [str(k) for k in range(data.meta.n_classes)]
    group = members(folds(data.y_train.numpy(), count, 1, classes), **changes)
    assert len({member.signature() for member in group}) == (1 if 420 % count == 0 else 2)
    first = [Task(f"a{k}", m, 1 + k % 2, None, tmp_path / f"a{k}") for k, m in enumerate(group)]
    last = [Task(f"b{k}", m, 3, tmp_path / f"a{k}", tmp_path / f"b{k}") for k, m in enumerate(group)]
    for tasks in (first, last):
        for signature in sorted({member.signature() for member in group}):
            found = train([task for task in tasks if task.member.signature() == signature], here)
            assert {outcome.error.text for outcome in found} == {""}
    for task in last:
        state, (wanted, predictions) = Checkpoint.load(task.checkpoint), by_hand(task.member, data, 3)
        assert state.curves == wanted.curves
        for name in tensors(wanted).keys() - {"predictions"}:
            assert torch.equal(tensors(state)[name], tensors(wanted)[name]), name
        assert torch.allclose(state.predictions, predictions, rtol=1e-5)


def test_our_own_nets_are_fused_with_held_rows(tmp_path: Path) -> None:
    (member, *_) = members(folds(digits().y_train.numpy(), 5, 1, CLASSES))
    assert fusing_obstacle(member, setup(digits(), tmp_path)) == ""


def test_held_rows_of_any_number_are_evaluated_in_parts() -> None:
    """Each row alone gives the mean of all."""
    data = digits(1400)
    held = np.arange(1100)
    group = population([Member(config(), k, np.arange(1100, 1400), holdout_rows=held) for k in range(2)], data)
    points = group.epoch()
    log_KNC = group.predict(data.x_train[:1100]).log_softmax(2)
    for k, point in enumerate(points):
        losses = -log_KNC[k].gather(1, data.y_train[:1100, None]).squeeze(1)
        assert point["val/loss"] == pytest.approx(losses.mean().item(), rel=1e-5)
        assert point["val/accuracy"] == (log_KNC[k].argmax(1) == data.y_train[:1100]).double().mean().item()


# --- their trial -------------------------------------------------------------------------------------------------------


def test_curves_are_means_and_their_spread_has_its_own() -> None:
    draw = np.random.default_rng(0)
    val, loss = draw.normal(size=(3, 4)), draw.normal(size=(3, 4))
    parts = [Outcome(f"0-4-{k}", 4, {"val/loss": list(val[k]), "train/loss": list(loss[k])}, 1.5) for k in range(3)]
    whole = mean_outcome(parts)
    assert whole.curves.keys() == {"val/loss", "val/loss_std", "train/loss"}
    assert whole.curves["val/loss"] == pytest.approx(val.mean(0))
    assert whole.curves["val/loss_std"] == pytest.approx(val.std(0))
    assert whole.curves["train/loss"] == pytest.approx(loss.mean(0))
    assert (whole.seconds, whole.error.text) == (4.5, "")
    assert mean_outcome(parts[:1]) is parts[0]
    shorter = [replace(part, curves={"val/loss": list(val[k, : k + 1])}) for k, part in enumerate(parts)]
    assert mean_outcome(shorter).curves["val/loss"] == whole.curves["val/loss"][:1]


def test_the_error_of_one_fold_is_that_of_the_trial() -> None:
    curve = {"val/loss": [1.0, 2.0]}
    diverged = Outcome("0-2-1", 2, {"val/loss": [1.0, math.inf]}, 1.0, Reason("diverged", "diverged"))
    whole = mean_outcome([Outcome("0-2-0", 2, curve, 1.0), diverged])
    assert (whole.error.text, whole.curves["val/loss"]) == ("diverged", [1.0, math.inf])
    broken = Outcome("0-2-1", 0, {}, 1.0, Reason("refused", "no such width"), "Traceback")
    whole = mean_outcome([Outcome("0-2-0", 2, curve, 1.0), broken])
    assert (whole.error.text, whole.detail, whole.curves) == ("no such width", "Traceback", {})


# --- as a person runs it -----------------------------------------------------------------------------------------------

SMALL = ("n_trials=10", "epochs=6", "seed=1", "objective.folds=3")
SAME = ("trials.csv", "curves.csv", "best.yaml", "summary.json", "predictions.npz")
SEARCHES = {"gp": SMALL, "pbt": (*SMALL, "search=pbt", "n_trials=6", "search.interval=2")}


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="module", params=SEARCHES)
def undisturbed(request: Any, tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> tuple[str, Place]:
    place = Place(tmp_path_factory.mktemp(request.param), prepared)
    place.run(*SEARCHES[request.param], "workers=2")
    return request.param, place


@pytest.mark.slow
def test_a_trial_is_the_mean_of_members_trained_by_hand(undisturbed: tuple[str, Place]) -> None:
    """The best of the table: curves, spread, predictions, weights; its copies in MLflow."""
    search, place = undisturbed
    check_tracking(place)
    lines = [row for row in place.rows("curves") if int(row["number"]) == best_number(place)]
    assert len(lines) == 6
    assert float(lines[-1]["val/accuracy"]) == json.loads((place.out / "summary.json").read_text())["best_value"]
    complete = [row["number"] for row in place.rows() if row["state"] == "complete"]
    stems = {f"{number}-{fold}" for number in complete for fold in range(3)}
    assert {path.stem for path in (place.out / "weights").iterdir()} == stems
    kept = {path.stem for path in place.studies[0].glob("checkpoints/*")}
    assert kept == {f"{number}-6-{fold}" for number in complete for fold in range(3)}
    if search == "pbt":
        return
    data = load(place.folder / "data" / "prepared" / "digits")
    arrays = (torch.from_numpy(np.array(a)) for a in (data.x_train, data.y_train, data.x_val, data.y_val))
    whole = Rows(data.meta, *arrays)
    cut = folds(data.y_train, 3, int(data.meta.sha256[:8], 16), data.meta.class_names)
    best = TrialConfig.from_json(yaml.safe_load((place.out / "best.yaml").read_text()))
    seeds = [derived_seed(1, "fold of a trial", best_number(place), k) for k in range(3)]
    found = [by_hand(Member(best, seed, r, holdout_rows=h), whole, 6) for seed, (r, h) in zip(seeds, cut, strict=True)]
    for name in ("val/accuracy", "val/loss"):
        values = np.array([state.curves[name] for state, _ in found])
        assert [float(row[name]) for row in lines] == pytest.approx(values.mean(0), rel=1e-12)
        assert [float(row[f"{name}_std"]) for row in lines] == pytest.approx(values.std(0), rel=1e-9)
    for k, (state, _) in enumerate(found):
        weights = load_file(place.out / "weights" / f"{best_number(place)}-{k}.safetensors")
        assert all(torch.equal(weights[name], state.weights[name]) for name in weights)
    with np.load(place.out / "predictions.npz") as predictions:
        mean = torch.stack([predicted for _, predicted in found]).mean(0).numpy()
        assert np.allclose(predictions[str(best_number(place))], mean, atol=1e-6)


def best_number(place: Place) -> int:
    return int(json.loads((place.out / "summary.json").read_text())["best_number"])


@pytest.mark.slow
def test_killed_and_robbed_and_resumed_it_comes_to_the_same_end(undisturbed: tuple[str, Place], tmp_path: Path) -> None:
    """On one worker; checkpoints of some folds are torn, of others gone, also of complete trials."""
    search, whole = undisturbed
    place = Place(tmp_path / "killed", whole.folder / "data" / "prepared")
    for count in (1, 8):
        process = place.start(*SEARCHES[search], "workers=1")
        assert wait_until(lambda count=count: place.events() >= count, process)
        kill(process)
        for k, checkpoint in enumerate(sorted(place.studies[0].glob("checkpoints/*"))):
            if k % 3 == 0:
                checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
            elif k % 3 == 1:
                checkpoint.unlink()
    place.run(*SEARCHES[search], "workers=1")
    for name in SAME:
        assert (place.out / name).read_bytes() == (whole.out / name).read_bytes(), name
    names = [{path.name for path in p.studies[0].glob("checkpoints/*")} for p in (place, whole)]
    assert names[0] == names[1]
    check_tracking(place)


UNLUCKY = """
import torch
class Net(torch.nn.Linear):
    def __init__(self, input_shape, n_outputs):
        super().__init__(64, n_outputs)
        self.luck = float(torch.rand(()))
    def forward(self, x):
        if self.training and self.luck < 0.25:
            raise ValueError("no luck")
        return super().forward(x.flatten(1))
"""


@pytest.mark.slow
def test_a_trial_one_of_whose_folds_fails_has_failed_and_leaves_nothing(tmp_path: Path, prepared: Path) -> None:
    place = Place(tmp_path / "place", prepared)
    (place.folder / "unlucky.py").write_text(UNLUCKY)
    group = place.folder / "mine" / "model"
    group.mkdir(parents=True)
    (group / "unlucky.yaml").write_text("# @package _global_\nmodel: {name: mlp, _target_: unlucky.Net}\n")
    words = ("--config-dir", "mine", "model=unlucky", "trusted=[unlucky]", "n_trials=8", "epochs=2", "search=random")
    place.run(*words, "objective.folds=3", "seed=1")
    states = {row["number"]: row["state"] for row in place.rows()}
    assert set(states.values()) == {"complete", "fail"}
    assert {row["diagnosis"] for row in place.rows() if row["state"] == "fail"} == {"no luck"}
    kept = {path.stem for path in place.studies[0].glob("checkpoints/*")}
    assert kept == {f"{n}-2-{fold}" for n, state in states.items() if state == "complete" for fold in range(3)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["objective.folds=500"], "objective.folds: 500 is more than the "),
        (["objective.folds=2", "batch_size=700"], "batch_size: 700 is more than the "),
        (["objective.folds=0"], "objective.folds: should be greater than 0, not 0"),
    ],
)
def test_what_cannot_be_cut_is_refused(words: list[str], sentence: str, tmp_path: Path, prepared: Path) -> None:
    failed = Place(tmp_path / "place", prepared).run(*words, ok=False).stderr.strip()
    assert failed.startswith(f"error: {sentence}")
    assert "\n" not in failed
