"""MLflow shows what the study says: once, whole, and whoever dies on the way."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from src.errors import UserError
from src.tracking import RunRecord, Tracker, check

ROOT = Path(__file__).parents[1]
FINGERPRINT = "f1e2d3"
STUDY = "digits"

# MLflow's own use of SQLAlchemy, where a test reads through it
pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning", "ignore::DeprecationWarning:mlflow"
)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's with nothing in it, to copy: making one takes a second."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    code = (
        f"from pathlib import Path; from src.tracking.database import make; make(Path({str(path)!r}), Path('/nowhere'))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
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


# What is shown


def test_a_run_shows_all_of_its_record(uri: str, tmp_path: Path) -> None:
    picture, bundle = tmp_path / "p.txt", tmp_path / "bundle"
    picture.write_text("picture")
    bundle.mkdir()
    (bundle / "MLmodel").write_text("flavors: {}")
    trial = record(
        metrics={"best": 0.75}, model=bundle, artifacts={"plots/p.txt": picture}, started=1000.0, ended=1060.5
    )
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
    assert Path(folder, "plots/p.txt").read_text() == "picture"
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
    from src.tracking import database as short
    from src.tracking.runs import Runs

    stages = [
        record("trial-1", 5, "RUNNING", metrics={"best": 0.5}),
        record("trial-1", 9, metrics={"best": 0.6}, started=1.0, ended=2.0),
    ]
    seen, tables = [], []
    for folder, fast in ((tmp_path / "short", True), (tmp_path / "client", False)):
        folder.mkdir()
        shutil.copy(empty, folder / "mlflow.db")
        if not fast:
            monkeypatch.setattr(short, "TESTED_SCHEMA", "another")
        target = Runs(f"sqlite:///{folder}/mlflow.db", STUDY, "test")
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
    from src.tracking import database as short

    assert short.is_known(client(uri)._tracking_client.store)


# Who dies


SWEEP = """
    import sys, time
    from src.tracking import RunRecord, Tracker
    sys.path.insert(0, "tests")
    from test_tracking import record, STUDY
    with Tracker(sys.argv[1], STUDY) as tracker:
        print(tracker._process.pid, flush=True)
        tracker.project(record("sweep", state="RUNNING"))
        for epoch in range(1, 21):
            for trial in range(6):
                tracker.project(record(f"trial-{trial}", epoch, "RUNNING" if epoch < 20 else "FINISHED"))
            print(epoch, flush=True)
            time.sleep(0.15)
        tracker.project(record("sweep"))
"""


def sweep(uri: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(SWEEP), uri]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def assert_whole(uri: str, trials: int = 6) -> None:
    shown = by_key(uri)
    assert shown.keys() == {"sweep", *(f"trial-{n}" for n in range(trials))}
    assert {run.info.status for run in shown.values()} == {"FINISHED"}
    for key, run in shown.items():
        for name, values in record(key).curves.items():
            assert curve(uri, run, name) == list(enumerate(values, 1)), (key, name)


def kill_and_level(uri: str, after: float, writer_too: bool = False) -> None:
    with sweep(uri) as process:
        assert process.stdout
        writer = int(process.stdout.readline())
        time.sleep(after)
        process.kill()
        if writer_too:
            os.kill(writer, signal.SIGKILL)
    wait_for(lambda: gone(writer))
    assert writer_too or "RUNNING" not in {run.info.status for run in runs(uri)}
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep"), *(record(f"trial-{n}") for n in range(6))])
    assert_whole(uri)


def test_sigkill_of_the_sweep_leaves_killed_runs_and_level_makes_them_whole(uri: str) -> None:
    kill_and_level(uri, after=random.Random(0).uniform(2.5, 4.5))


@pytest.mark.slow
@pytest.mark.parametrize("writer_too", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_sigkill_at_any_moment_from_the_first(tmp_path: Path, seed: int, writer_too: bool) -> None:
    kill_and_level(f"sqlite:///{tmp_path}/mlflow.db", random.Random(seed).uniform(0.0, 6.0), writer_too)


def test_sigkill_of_the_writer_goes_unnoticed(uri: str) -> None:
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", state="RUNNING"), *(record(f"trial-{n}", 7, "RUNNING") for n in range(6))])
        wait_for(lambda: len(runs(uri)) > 3)
        tracker._process.kill()
        tracker._process.wait()
        for n in range(6):
            tracker.project(record(f"trial-{n}"))
        tracker.project(record("sweep"))
        tracker.close()
    assert_whole(uri)


def test_signals_to_the_writer_are_not_its_own(uri: str) -> None:
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", state="RUNNING"), record("trial-0", 5, "RUNNING")])
        assert tracker.ready(60)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            tracker._process.send_signal(number)
        tracker.level([record("sweep"), record("trial-0")])
    assert tracker._starts == 1
    assert_whole(uri, trials=1)


def test_an_exception_leaves_killed_runs_within_seconds(uri: str) -> None:
    with suppress(KeyboardInterrupt), Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", state="RUNNING"), record("trial-0"), record("trial-1", 3, "RUNNING")])
        wait_for(lambda: len(runs(uri)) == 3)
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < 3.5
    states = {key: run.info.status for key, run in by_key(uri).items()}
    assert states == {"sweep": "KILLED", "trial-0": "FINISHED", "trial-1": "KILLED"}


def test_runs_that_nobody_owns_any_more_become_killed(uri: str, database: Path) -> None:
    """Sweep and writer died together: the next start, of whatever study, closes their runs, and not those of the living."""
    with Tracker(uri, STUDY) as alive:
        other = {"fingerprint": "other"}
        alive.project(RunRecord("sweep", "alive", "alive", None, "RUNNING"))
        with Tracker(uri, STUDY) as dead:
            dead.project(RunRecord("sweep", name="dead", parent=None, state="RUNNING", **other))
            wait_for(lambda: len(runs(uri)) == 2)
            dead._process.kill()
            dead._process.wait()
            dead._closed = True
        assert {run.info.status for run in runs(uri)} == {"RUNNING"}
        with Tracker(uri, STUDY) as third:
            assert third.ready(60)
            states = {run.info.run_name: run.info.status for run in runs(uri)}
            assert states == {"alive": "RUNNING", "dead": "KILLED"}


# Who is away


def test_four_sweeps_start_together_on_a_fresh_database(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys
        from src.tracking import RunRecord, Tracker
        with Tracker(sys.argv[1], "digits") as tracker:
            tracker.project(RunRecord("sweep", sys.argv[2], sys.argv[2], None, "FINISHED", curves={"loss": [1.0] * 50}))
    """)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    together = [subprocess.Popen([sys.executable, "-c", code, uri, f"sweep {n}"], cwd=ROOT) for n in range(4)]
    assert [process.wait(100) for process in together] == [0] * 4
    assert sorted(run.info.run_name for run in runs(uri)) == [f"sweep {n}" for n in range(4)]
    assert {len(curve(uri, run, "loss")) for run in runs(uri)} == {50}


def test_a_locked_database_delays_and_loses_nothing(uri: str, database: Path) -> None:
    with Tracker(uri, STUDY) as tracker:
        assert tracker.ready(60)
        with closing(lock(database)):
            began = time.monotonic()
            for epoch in range(1, 21):
                for n in range(6):
                    tracker.project(record(f"trial-{n}", epoch, "RUNNING" if epoch < 20 else "FINISHED"))
            tracker.project(record("sweep"))
            assert time.monotonic() - began < 1.0
            time.sleep(4.0)
    assert_whole(uri)


@pytest.mark.slow
def test_a_database_locked_for_longer_than_mlflow_waits(uri: str, database: Path) -> None:
    with Tracker(uri, STUDY) as tracker:
        assert tracker.ready(60)
        with closing(lock(database)):
            tracker.level([record("sweep"), *(record(f"trial-{n}") for n in range(6))])
            time.sleep(30.0)
    assert_whole(uri)


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(tmp_path: Path, port: int) -> subprocess.Popen[bytes]:
    """A tracking server."""
    options = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination",
        str(tmp_path / "artifacts"),
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *options,
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path, "start_new_session": True}
    server = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
    wait_for(lambda: _answers(port), 90)
    return server  # type: ignore[no-any-return]


def stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_server_that_restarts_loses_nothing(database: Path, tmp_path: Path, port: int) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "MLmodel").write_text("flavors: {}")
    uri = f"http://127.0.0.1:{port}"
    check_refuses(uri, "nothing answers")
    server = serve(tmp_path, port)
    try:
        check(uri)
        with Tracker(uri, STUDY) as tracker:
            tracker.level([record("sweep", state="RUNNING"), *(record(f"trial-{n}", 7, "RUNNING") for n in range(6))])
            wait_for(lambda: len(runs(uri)) > 3, 60)
            stop(server)
            tracker.level([record("sweep"), *(record(f"trial-{n}", model=bundle) for n in range(6))])
            time.sleep(10)
            server = serve(tmp_path, port)
        assert_whole(uri)
        run = by_key(uri)["trial-5"]
        assert [item.path for item in client(uri).list_artifacts(run.info.run_id, "model")] == ["model/MLmodel"]
    finally:
        stop(server)


# What is refused


def check_refuses(uri: str, *words: str) -> None:
    with pytest.raises(UserError) as refusal:
        check(uri)
    message = str(refusal.value)
    assert message.startswith("tracking.uri=")
    assert message.count("\n") == 0
    for word in words:
        assert word in message


def test_uris_that_cannot_work(tmp_path: Path, database: Path) -> None:
    file = tmp_path / "file"
    file.write_text("this is no database, " * 100)
    for store in ("mlruns", "file:///tmp/mlruns", "", "sqlite://", "sqlite:///:memory:", "ftp://host"):
        check_refuses(store, "sqlite:///mlflow.db")
    check_refuses(f"sqlite:///{file}/mlflow.db", "folder")
    check_refuses(f"sqlite:///{file}", "not a SQLite database")
    check_refuses("postgresql://me:secret@127.0.0.1:1/x", "nothing answers", "***@127.0.0.1")
    check_refuses("http://no.such.host.invalid", "nothing answers")
    check(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    check(f"sqlite:///{database}")
    with closing(lock(database)):
        check(f"sqlite:///{database}")
    assert not (tmp_path / "new").exists()


def revise(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def test_databases_of_other_versions(uri: str, database: Path) -> None:
    revise(database, "0123456789ab")
    check_refuses(uri, "newer", "0123456789ab")
    revise(database, "acf3f17fdcc7")
    with pytest.raises(UserError, match="mlflow db upgrade"), Tracker(uri, STUDY) as tracker:
        tracker.ready(60)


def test_a_deleted_experiment(uri: str) -> None:
    reader = client(uri)
    reader.delete_experiment(reader.create_experiment(STUDY))
    with pytest.raises(UserError, match=r"deleted.*restore"), Tracker(uri, STUDY) as tracker:
        tracker.project(record())


def test_a_model_that_is_not_there(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"), Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep"), record("trial-0", artifacts={"a": tmp_path / "absent"}), record("trial-1")])
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


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_writer(path)]
    wait_for(lambda: not any(_is_writer(path) for path in left), 10)


def _is_writer(cmdline: Path) -> bool:
    try:
        status = (cmdline.parent / "stat").read_text().split()[3]
        return b"src.tracking.writer" in cmdline.read_bytes() and status == str(os.getpid())
    except OSError:
        return False
