"""MLflow shows what the study says, once and whole, and what cannot be shown is refused."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from src.system.errors import UserError
from src.tracking.pages import experiments
from src.tracking.tracker import Tracker
from src.tracking.uri import check
from tests.support.postgres import Server
from tests.support.tracked import (
    FINGERPRINT,
    FIXTURES,
    STUDY,
    by_key,
    client,
    curve,
    lock,
    record,
    rows,
    wait_for,
)

empty, database, uri, writers = FIXTURES
pytestmark = [
    pytest.mark.usefixtures("writers"),
    # MLflow's own use of SQLAlchemy, where a test reads through it
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning", "ignore::DeprecationWarning:mlflow"),
]


# What is shown


def test_a_run_shows_all_of_its_record(uri: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "MLmodel").write_text("flavors: {}")
    trial = record(metrics={"best": 0.75}, model=bundle, started=1000.0, ended=1060.5)
    with Tracker(uri, STUDY) as tracker:
        tracker.project(record("sweep"))
        tracker.project(trial)
        ids = tracker.close()
    assert tracker.seconds > 0
    shown = by_key(uri)
    run = shown["trial-0"]
    assert ids == {key: each.info.run_id for key, each in shown.items()}
    assert (run.info.run_name, run.info.status) == ("mlp trial-0", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1_000_000, 1_060_500)
    assert run.data.params == {key: str(value) for key, value in trial.params.items()}
    for name, values in trial.curves.items():
        assert curve(uri, run, name) == list(enumerate(values, 1))
        assert run.data.metrics[name] == values[-1]
    assert curve(uri, run, "best") == [(20, 0.75)]
    assert trial.tags.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.parentRunId"] == ids["sweep"]
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", ("ab" * 32)[:36])
    folder = client(uri).download_artifacts(run.info.run_id, "")
    assert Path(folder, "model/MLmodel").is_file()
    assert Path(folder).is_relative_to(tmp_path / "mlartifacts")


def test_projecting_twice_changes_nothing(uri: str, database: Path) -> None:
    records = [record("sweep"), *(record(f"trial-{n}") for n in range(3)), record("trial-3", state="FAILED")]
    for again in range(3):
        with Tracker(uri, STUDY) as tracker:
            tracker.level(records)
            if again == 1:
                for each in reversed(records):
                    tracker.project(each)
        if again == 0:
            before = rows(database)
    assert rows(database) == before


def test_a_run_grows_and_is_never_a_second_one(uri: str) -> None:
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", state="RUNNING"), record(epochs=5, state="RUNNING", metrics={"best": 0.5})])
    first = by_key(uri)
    assert {run.info.status for run in first.values()} == {"KILLED"}
    with Tracker(uri, STUDY) as tracker:
        tracker.project(record(epochs=12, state="RUNNING", metrics={"best": 0.6}, tags={"lockstep.diagnosis": "slow"}))
        wait_for(lambda: by_key(uri)["trial-0"].info.status == "RUNNING")
        tracker.project(record(epochs=20, metrics={"best": 0.7}, tags={"lockstep.diagnosis": "healthy"}))
    run = by_key(uri)["trial-0"]
    assert run.info.run_id == first["trial-0"].info.run_id
    assert run.info.status == "FINISHED"
    assert curve(uri, run, "train/loss") == [(e, e / 1000) for e in range(1, 21)]
    assert curve(uri, run, "best") == [(5, 0.5), (12, 0.6), (20, 0.7)]
    assert run.data.metrics["best"] == 0.7
    assert run.data.tags["lockstep.diagnosis"] == "healthy"
    assert len(run.inputs.dataset_inputs) == 1


def test_what_is_not_finite_is_shown_as_nan(uri: str) -> None:
    values = [1.0, math.inf, -math.inf, math.nan]
    with Tracker(uri, STUDY) as tracker:
        tracker.project(record(parent=None, state="FAILED", curves={"loss": values}))
    run = by_key(uri)["trial-0"]
    assert [(step, math.isfinite(value)) for step, value in curve(uri, run, "loss")] == [
        (1, True),
        (2, False),
        (3, False),
        (4, False),
    ]
    assert math.isnan(run.data.metrics["loss"])


def test_rows_are_those_of_the_client(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way into the database and MLflow's own client: what is read back is the same, and so are the columns."""
    from src.tracking import sqlite as short
    from src.tracking.runs import Runs

    stages = [
        record("trial-1", 5, "RUNNING", metrics={"best": 0.5}),
        record("trial-1", 9, metrics={"best": 0.6}, started=1.0, ended=2.0),
        record("trial-2", 400, params={f"p{n}": n for n in range(150)}, tags={f"t{n}": "x" for n in range(120)}),
    ]
    seen, tables = [], []
    for folder, fast in ((tmp_path / "short", True), (tmp_path / "client", False)):
        folder.mkdir()
        shutil.copy(empty, folder / "mlflow.db")
        if not fast:
            monkeypatch.setattr(short, "TESTED_SCHEMA", "another")
        target = Runs(f"sqlite:///{folder}/mlflow.db", STUDY, "test", folder / "mlartifacts")
        target.claim(FINGERPRINT, [])
        for stage in stages:
            target.write(stage)
        target.release()
        (run, parent) = (by_key(f"sqlite:///{folder}/mlflow.db")[key] for key in ("trial-1", "sweep"))
        data = run.to_dictionary()
        seen.append(_without_ids(data, {run.info.run_id: "run", parent.info.run_id: "parent", str(folder): "folder"}))
        tables.append(_columns(folder / "mlflow.db"))
    assert seen[0] == seen[1]
    assert tables[0] == tables[1]


def _without_ids(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(item, names) for key, item in value.items() if key not in ("start_time",)}
    if isinstance(value, list):
        return sorted((_without_ids(item, names) for item in value), key=str)
    for known, name in names.items():
        value = value.replace(known, name) if isinstance(value, str) else value
    return value


def _columns(database: Path) -> dict[str, list[Any]]:
    """Rows of the tables that a run has, but for ids, paths and times."""
    kept = {
        "runs": "name, source_type, source_name, entry_point_name, user_id, status, source_version, lifecycle_stage",
        "metrics": "key, value, step, is_nan",
        "latest_metrics": "key, value, step, is_nan",
        "params": "key, value",
        "datasets": "experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile",
        "inputs": "source_type, destination_type, step",
        "input_tags": "name, value",
    }
    with closing(sqlite3.connect(database)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}"), key=str)
            for table, columns in kept.items()
        }


def test_the_short_way_knows_the_installed_mlflow(uri: str) -> None:
    """If this fails, MLflow was upgraded: compare its tables by the test above, then move TESTED_SCHEMA."""
    from src.tracking import sqlite as short

    assert short.is_known(client(uri)._tracking_client.store)


# What is refused


def check_refuses(uri: str, *words: str) -> None:
    with pytest.raises(UserError) as refusal:
        check(uri)
    message = str(refusal.value)
    assert message.startswith("tracking.uri=")
    assert message.count("\n") == 0
    for word in words:
        assert word in message


def test_uris_that_cannot_work(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.tracking.uri.OPENING", 0.0)
    file = tmp_path / "file"
    file.write_text("this is no database, " * 100)
    for store in ("mlruns", "file:///tmp/mlruns", "", "sqlite://", "sqlite:///:memory:", "ftp://host"):
        check_refuses(store, "sqlite:///mlflow.db")
    check_refuses(f"sqlite:///{file}/mlflow.db", "folder")
    check_refuses(f"sqlite:///{file}", "not a SQLite database")
    check_refuses("postgresql://me:secret@127.0.0.1:1/x", "nothing answers", "***@127.0.0.1")
    check_refuses("postgresql+psycopg://me:secret@127.0.0.1:1/x", "nothing answers", "***@127.0.0.1")
    check_refuses("http://no.such.host.invalid", "its host is not known")
    for uri in ("http://", "http://[::1", "http://host:port", "https://host:99999", "postgresql://host:0/x"):
        check_refuses(uri, "so correct the URI")
    check(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    check(f"sqlite:///{database}")
    with closing(lock(database)):
        check(f"sqlite:///{database}")
    assert not (tmp_path / "new").exists()


def test_a_database_that_lets_nobody_in(postgres: Server) -> None:
    url = postgres.fresh()
    check(url)
    check_refuses(f"{url}x", "does not exist", "***@127.0.0.1")
    check_refuses(url.replace("psycopg", "psycopg2"), "cannot be opened", "psycopg2")


def revise(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def test_databases_of_other_versions(uri: str, database: Path) -> None:
    revise(database, "0123456789ab")
    check_refuses(uri, "newer", "0123456789ab")
    revise(database, "acf3f17fdcc7")
    with pytest.raises(UserError, match="mlflow db upgrade"), Tracker(uri, STUDY):
        pass


def test_a_deleted_experiment(uri: str) -> None:
    reader = client(uri)
    reader.delete_experiment(reader.create_experiment(STUDY))
    with pytest.raises(UserError, match=r"deleted.*restore"), Tracker(uri, STUDY) as tracker:
        tracker.project(record())


def test_a_model_that_is_not_there(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"), Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep"), record("trial-0", model=tmp_path / "absent"), record("trial-1")])
    assert by_key(uri).keys() == {"sweep", "trial-1"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"params": {"choices": "x" * 6001}}, "'choices'.*6000"),
        ({"params": {"a+b": 1}}, r"Parameter 'a\+b'"),
        ({"metrics": {"acc@1": 1.0}}, "Metric 'acc@1'"),
        ({"curves": {"loss!": [1.0]}}, "Metric 'loss!'"),
        ({"curves": {"a//b": [1.0]}}, "Metric 'a//b'"),
        ({"metrics": {"x" * 251: 1.0}}, "250"),
    ],
)
def test_records_that_mlflow_would_refuse_or_cut(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        record(**changes)


def test_a_long_tag_is_cut_visibly(uri: str) -> None:
    with Tracker(uri, STUDY) as tracker:
        tracker.project(record("sweep", tags={"error": "x" * 9000}))
    shown = by_key(uri)["sweep"].data.tags["error"]
    assert len(shown) == 8000
    assert shown.endswith("(cut)")


# What a person meets


def tags_of(uri: str) -> dict[str, str]:
    return dict(client(uri).get_experiment_by_name(STUDY).tags)


def test_the_experiment_says_what_it_is_and_what_a_person_wrote_there_stands(uri: str) -> None:
    for _ in range(2):
        with Tracker(uri, STUDY) as tracker:
            tracker.level([record("sweep"), record("trial-0")])
        tags = tags_of(uri)
        assert tags["mlflow.experimentKind"] == "custom_model_development"  # as MLflow's own pages name it
        number = client(uri).get_experiment_by_name(STUDY).experiment_id
        assert f"#/experiments/{number}/runs?workflowType=machine_learning" in tags["mlflow.note.content"]
        view = json.loads(tags["mlflow.sharedViewState.lockstep"])
        assert {"metrics.`val/loss`", "attributes.`Duration`"} <= set(view["selectedColumns"])
    client(uri).set_experiment_tag(number, "mlflow.note.content", "mine")
    with Tracker(uri, STUDY) as tracker:
        tracker.project(record("trial-1"))
    assert tags_of(uri)["mlflow.note.content"] == "mine"


def test_the_view_of_the_runs_has_a_column_for_each_figure_that_matters_once_a_run_has_it(uri: str) -> None:
    def columns() -> list[str]:
        chosen = json.loads(tags_of(uri)["mlflow.sharedViewState.lockstep"])["selectedColumns"]
        return [column for column in chosen if column.startswith("metrics")]

    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", state="RUNNING"), record("trial-0")])
    assert columns() == ["metrics.`val/loss`"]
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", metrics={"best/val/loss": 0.1}), record("ensemble", metrics={"test/rmse": 0.2})])
    assert columns() == ["metrics.`best/val/loss`", "metrics.`test/rmse`", "metrics.`val/loss`"]
    number = client(uri).get_experiment_by_name(STUDY).experiment_id
    client(uri).set_experiment_tag(number, "mlflow.sharedViewState.lockstep", '{"selectedColumns": []}')
    with Tracker(uri, STUDY) as tracker:
        tracker.project(record("trial-1"))
    assert columns() == [], "a person's own"
    assert experiments(uri) == {STUDY: number}


def test_the_times_of_a_run_are_those_of_its_training(uri: str) -> None:
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", state="RUNNING"), record("trial-0", 5, "RUNNING")])
        wait_for(lambda: "trial-0" in by_key(uri))
        tracker.level([record("sweep", started=1000.0, ended=1090.0), record("trial-0", started=1001.0, ended=1002.5)])
    times = {key: (run.info.start_time, run.info.end_time) for key, run in by_key(uri).items()}
    assert times == {"sweep": (1_000_000, 1_090_000), "trial-0": (1_001_000, 1_002_500)}
    with Tracker(uri, STUDY) as tracker:  # of one that does not know them any more
        tracker.level([record("sweep"), record("trial-0", metrics={"further": 1.0})])
    assert {key: (run.info.start_time, run.info.end_time) for key, run in by_key(uri).items()} == times


@pytest.mark.parametrize("lost", ["model", "model/weights", "."])
def test_files_that_were_deleted_come_back_at_the_next_start(uri: str, tmp_path: Path, lost: str) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "MLmodel").write_text("flavors: {}")
    (bundle / "weights").write_bytes(b"1")
    everything = [record("sweep"), record("trial-0", model=bundle)]
    with Tracker(uri, STUDY) as tracker:
        tracker.level(everything)
    folder = Path(by_key(uri)["trial-0"].info.artifact_uri.removeprefix("file://"))
    gone = folder / lost
    gone.unlink() if gone.is_file() else shutil.rmtree(gone)
    with Tracker(uri, STUDY) as tracker:
        tracker.level(everything)
    assert {path.name: path.read_bytes() for path in (folder / "model").iterdir()} == {
        "MLmodel": b"flavors: {}",
        "weights": b"1",
    }


def test_the_locks_of_a_server_are_in_a_folder_that_only_its_user_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.tracking.runs import _server_locks

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = _server_locks("http://host:5000")
    assert folder.is_relative_to(tmp_path)
    assert (tmp_path / "lockstep" / "locks").stat().st_mode & 0o077 == 0
    (tmp_path / "lockstep" / "locks").chmod(0o777)
    with pytest.raises(UserError, match="written by others"):
        _server_locks("http://host:5000")
