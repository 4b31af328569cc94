"""Records as a sweep makes them, a database to project them into, and what MLflow then shows."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from src.tracking.record import RunRecord
from tests.support import warm

ROOT = Path(__file__).parents[2]
FINGERPRINT = "f1e2d3"
STUDY = "digits"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's with nothing in it, to copy: making one takes a second."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    code = (
        f"from pathlib import Path; from src.tracking.sqlite import make; make(Path({str(path)!r}), Path('/nowhere'))"
    )
    assert warm.Popen([sys.executable, "-c", code], cwd=ROOT).wait() == 0
    return path


@pytest.fixture
def database(empty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty, tmp_path / "mlflow.db"))


@pytest.fixture
def uri(database: Path) -> str:
    return f"sqlite:///{database}"


def record(key: str = "trial-0", epochs: int = 20, state: Any = "FINISHED", **changes: Any) -> RunRecord:
    """A trial as a sweep would show it; the curve of epoch e of trial n has n + e / 1000."""
    number = int(key.rpartition("-")[2] or 0) if "-" in key else 0
    curves = {name: [number + e / 1000 for e in range(1, epochs + 1)] for name in ("train/loss", "val/loss", "lr")}
    given: dict[str, Any] = {
        "parent": None if key == "sweep" else "sweep",
        "params": {"optimizer.lr": 0.1, "sgd/optimizer.momentum": 0.9, "model.width": [50, 50]},
        "curves": {} if key == "sweep" else curves,
        "tags": {"lockstep.stage": "sweep", "lockstep.trial": str(number)},
        "dataset": {"name": "digits", "sha256": "ab" * 32, "source": "sklearn", "n_train": 1000, "bins": [[0.5]]},
    }
    return RunRecord(key, FINGERPRINT, f"mlp {key}", state=state, **(given | changes))


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri, uri)


def runs(uri: str) -> list[Any]:
    reader = client(uri)
    experiment = reader.get_experiment_by_name(STUDY)
    return list(reader.search_runs([experiment.experiment_id], max_results=5000)) if experiment else []


def by_key(uri: str) -> dict[str, Any]:
    """Its runs; one a key."""
    found = runs(uri)
    keys = [run.data.tags["lockstep.key"] for run in found]
    assert len(keys) == len(set(keys)), f"two runs of one key: {sorted(keys)}"
    return dict(zip(keys, found, strict=True))


def curve(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client(uri).get_metric_history(run.info.run_id, name))


def rows(database: Path) -> list[str]:
    """All that the database holds."""
    with closing(sqlite3.connect(database)) as connection:
        return sorted(connection.iterdump())


def lock(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None, timeout=60)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The writers of this process are forked, which costs little; none outlives its test by 10 seconds."""
    started: list[warm.Popen] = []

    class Popen(warm.Popen):
        def __init__(self, *words: Any, **keys: Any) -> None:
            super().__init__(*words, **keys)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    yield
    for process in started:
        process.wait(10)


FIXTURES = empty, database, uri, writers  # a test module takes them over by name
