"""The diagnosis of runs that Lockstep did not make: from MLflow, and from CSV files as others write them."""

import csv
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from src.diagnosis.curve_names import aligned, from_csv, our_names
from src.system.errors import UserError
from tests.support import warm

ROOT = Path(__file__).parents[1]
TRAIN = [1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.06]
VAL = [0.9, 0.7, 0.6, 0.62, 0.7, 0.8, 0.9, 1.0]  # overfits from epoch 3
LOGGED = """
import mlflow
mlflow.set_tracking_uri("sqlite:///log.db")
with mlflow.start_run() as run:
    for epoch, (train, val) in enumerate(zip({train}, {val})):
        for batch in range(3):
            mlflow.log_metric("train_loss_step", train + batch - 1, step=3 * epoch + batch)
        mlflow.log_metrics({{"val_loss": val, "system/cpu": 1.0}}, step=3 * epoch + 2)
print(run.info.run_id)
"""


def diagnose(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return warm.run(folder, "diagnose", *words, COLUMNS="200")


def write(path: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            ["loss", "accuracy", "val_loss", "val_accuracy"],
            ["train/loss", "train/accuracy", "val/loss", "val/accuracy"],
        ),
        (["train_loss", "valid_loss", "accuracy"], ["train/loss", "val/loss", "val/accuracy"]),
        (["train_loss_epoch", "val_loss", "val_acc", "lr-AdamW"], ["train/loss", "val/loss", "val/accuracy", "lr"]),
        (["training/loss", "validation/loss", "learning_rate"], ["train/loss", "val/loss", "lr"]),
        (["Loss/train", "Loss/val", "epoch", "time"], ["train/loss", "val/loss"]),
        (
            ["train/loss", "val/loss", "grad/ratio", "dead/share"],
            ["train/loss", "val/loss", "grad/ratio", "dead/share"],
        ),
    ],
    ids=["keras", "fastai", "lightning", "by hand", "tensorboard", "lockstep"],
)
def test_the_names_of_others(theirs: list[str], ours: list[str]) -> None:
    found = our_names(theirs)
    assert [name for _, name in sorted((theirs.index(their), our) for our, their in found.items())] == ours


def test_an_epochs_mean_is_preferred_to_steps() -> None:
    assert our_names(["train_loss_step", "train_loss_epoch"]) == {"train/loss": "train_loss_epoch"}


def test_steps_become_the_epochs_of_the_validation_loss() -> None:
    steps = [(0.0, 4.0), (1.0, 2.0), (2.0, 1.0), (3.0, 0.0)]
    assert aligned({"train/loss": steps, "val/loss": [(1, 9.0), (3, 8.0)]}) == {
        "train/loss": [3.0, 0.5],
        "val/loss": [9.0, 8.0],
    }


def test_a_table_with_gaps_as_lightning_writes_it(tmp_path: Path) -> None:
    """A row with the training loss, then one with the validation loss."""
    rows = [(k, train, "") for k, train in enumerate(TRAIN)] + [(k, "", val) for k, val in enumerate(VAL)]
    rows.sort(key=lambda row: row[0])
    columns = dict(zip(("epoch", "train_loss", "val_loss"), zip(*rows, strict=True), strict=True))
    curves, _, note = from_csv(write(tmp_path / "metrics.csv", columns))
    assert (curves, note) == ({"train/loss": TRAIN, "val/loss": VAL}, "")


def test_the_rate_that_lightning_logs_before_its_epoch(tmp_path: Path) -> None:
    """LearningRateMonitor: a row of its own with a step, but no epoch."""
    (tmp_path / "metrics.csv").write_text(
        "epoch,lr-Adam,step,train_loss_epoch,train_loss_step,val_loss\n"
        ",0.05,0,,,\n0,,4,,5.0,\n0,,9,,1.0,\n0,,9,,,1.7\n0,,9,3.2,,\n"
        ",0.01,10,,,\n1,,14,,1.8,\n1,,19,,0.2,\n1,,19,,,0.4\n1,,19,1.0,,\n,0.001,20,,,\n"
    )
    curves, _, note = from_csv(tmp_path / "metrics.csv")
    assert curves["train/loss"] == [3.2, 1.0]
    assert curves["val/loss"] == [1.7, 0.4]
    assert curves["lr"][:1] == [0.05]
    assert note == ""


@pytest.mark.parametrize("between", ["", "epoch,loss,val_loss\n"], ids=["appended", "with its head again"])
def test_of_two_runs_in_one_file_the_last_is_read(between: str, tmp_path: Path) -> None:
    def run(losses: list[float]) -> str:
        return "".join(f"{epoch},{loss},{loss + 1}\n" for epoch, loss in enumerate(losses))

    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n" + run([9, 8, 7]) + between + run(TRAIN))
    curves, _, note = from_csv(tmp_path / "log.csv")
    assert curves["train/loss"] == TRAIN
    assert note == "2 runs stand in the file, since its epochs go back; this is the last"
    found = diagnose(tmp_path, "log.csv").stdout
    assert found.startswith("2 runs stand in the file")
    assert "8 epochs of train/loss" in found


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"epoch": [1], "score": [2]},
            "has no loss that is known, such as train_loss or val_loss: there is epoch, score",
        ),
        ({"loss": [1.0, "high"]}, "'high' in column loss, row 2, is no number"),
        ({"number": [0, 1], "epoch": [1, 1], "val/loss": [1, 2]}, "say which with --trial, of 0 to 1"),
    ],
)
def test_a_table_that_does_not_do_is_refused(columns: dict[str, list[object]], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        from_csv(write(tmp_path / "log.csv", columns))


def test_a_file_from_the_command_line(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", {"loss": TRAIN, "val_loss": VAL})
    found = diagnose(tmp_path, "log.csv")
    assert found.returncode == 0, found.stderr
    assert "8 epochs of train/loss from loss, val/loss from val_loss" in found.stdout
    assert "overfitting\n  why:  validation loss rises by 50% from epoch 3" in found.stdout
    missing = diagnose(tmp_path, "other.csv")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: other.csv cannot be read as a CSV file")
    assert missing.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_run_that_lockstep_did_not_make(tmp_path: Path) -> None:
    code = LOGGED.format(train=TRAIN, val=VAL)
    logged = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    run = logged.stdout.split()[-1]
    found = diagnose(tmp_path, run, "--uri", "sqlite:///log.db")
    assert found.returncode == 0, found.stderr
    assert "8 epochs of train/loss from train_loss_step, val/loss from val_loss" in found.stdout
    assert "overfitting" in found.stdout
    unknown = diagnose(tmp_path, "abc", "--uri", "sqlite:///log.db")
    assert "error: run abc cannot be read from sqlite:///log.db (Run with id=abc not found)" in unknown.stderr
    assert diagnose(tmp_path, run).stderr.endswith("mlflow.db is not there; name the database with --uri\n")
    assert not (tmp_path / "mlflow.db").exists()
