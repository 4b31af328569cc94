"""Relative addresses of MLflow begin in the project, also where DVC runs an experiment in a copy of it."""

import shutil
from pathlib import Path

import pytest

from src.system.errors import UserError
from src.tracking.uri import absolute, artifacts, check, sqlite_file


def test_an_experiment_in_a_copy_leaves_its_runs_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmpx1y2"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert absolute("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert artifacts("sqlite:///mlflow.db") == tmp_path / "mlartifacts"
    assert artifacts("postgresql://me@host/db") == tmp_path / "mlartifacts"


def test_elsewhere_they_begin_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:///runs/mlflow.db") == tmp_path / "runs" / "mlflow.db"
    assert sqlite_file("sqlite:////data/mlflow.db") == Path("/data/mlflow.db")
    assert sqlite_file("sqlite:///:memory:") is None
    assert absolute("http://host:5000") == "http://host:5000"


def test_a_disk_without_room_for_a_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's writer would wait for room until the sweep has ended."""
    usage = shutil.disk_usage(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    check(uri)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_400_000))
    with pytest.raises(
        UserError, match=r"^tracking\.uri=.* has 1,400,000 bytes free and needs 1,600,000; free some\.$"
    ):
        check(uri)
