"""Whoever dies or stays away on the way: nothing is lost, nothing is there twice, nothing dead is RUNNING."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from src.tracking.record import RunRecord
from src.tracking.tracker import Tracker
from src.tracking.uri import check
from tests.support import warm
from tests.support.loopback import free_port
from tests.support.mlflow_server import mlflow_server
from tests.support.tracked import (
    FIXTURES,
    ROOT,
    STUDY,
    by_key,
    client,
    curve,
    lock,
    record,
    runs,
    wait_for,
)

empty, database, uri, writers = FIXTURES
pytestmark = [
    pytest.mark.usefixtures("writers"),
    # MLflow's own use of SQLAlchemy, where a test reads through it
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning", "ignore::DeprecationWarning:mlflow"),
]


# Who dies


SWEEP = """
    import sys, time
    from src.tracking.tracker import Tracker
    from tests.support.tracked import record, STUDY
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


def sweep(uri: str, code: str = SWEEP, cold: bool = False) -> subprocess.Popen[str]:
    """Start a program; it and its writer are forked, unless `cold`, when they import all anew."""
    command = [sys.executable, "-c", textwrap.dedent(code), uri]
    start = warm.Cold if cold else warm.Popen
    return start(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def states(uri: str) -> dict[str, str]:
    return {run.info.run_name: run.info.status for run in runs(uri)}


def assert_whole(uri: str, trials: int = 6) -> None:
    shown = by_key(uri)
    assert shown.keys() == {"sweep", *(f"trial-{n}" for n in range(trials))}
    assert {run.info.status for run in shown.values()} == {"FINISHED"}
    for key, run in shown.items():
        for name, values in record(key).curves.items():
            assert curve(uri, run, name) == list(enumerate(values, 1)), (key, name)


def kill_and_level(uri: str, after: float, writer_too: bool = False, cold: bool = False) -> None:
    with sweep(uri, cold=cold) as process:
        assert process.stdout
        writer = int(process.stdout.readline())
        time.sleep(after)
        process.kill()
        if writer_too:
            with suppress(ProcessLookupError):
                os.kill(writer, signal.SIGKILL)
    wait_for(lambda: gone(writer))
    assert writer_too or "RUNNING" not in {run.info.status for run in runs(uri)}
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep"), *(record(f"trial-{n}") for n in range(6))])
    assert_whole(uri)


def test_sigkill_of_the_sweep_leaves_killed_runs_and_level_makes_them_whole(uri: str) -> None:
    kill_and_level(uri, after=random.Random(0).uniform(2.5, 4.5))


@pytest.mark.slow
def test_sigkill_at_any_moment_from_the_first(tmp_path: Path) -> None:
    """Ten sweeps, five at once since they mostly wait; the writer of every other one dies with it.

    Two are killed while their writer imports MLflow.
    """

    def killed(n: int) -> None:
        after, cold = random.Random(n // 2).uniform(0.0, 4.0), n // 2 == 1
        kill_and_level(f"sqlite:///{tmp_path}/{n}.db", after, writer_too=n % 2 == 1, cold=cold)

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(killed, range(10))) == [None] * 10


CLOSING = """
    import sys
    from src.tracking.tracker import Tracker
    from tests.support.tracked import record, STUDY
    tracker = Tracker(sys.argv[1], STUDY)
    print(tracker._process.pid, flush=True)
    tracker.level([record("sweep"), record("trial-0")])
    tracker.close()
"""


@pytest.mark.parametrize("code", [SWEEP, CLOSING], ids=["in its midst", "while it waits for the last record"])
def test_the_writer_ends_with_its_sweep_though_the_database_is_locked(uri: str, database: Path, code: str) -> None:
    with Tracker(uri, STUDY):
        wait_for(lambda: client(uri).get_experiment_by_name(STUDY))
    with closing(lock(database)), sweep(uri, code) as process:
        assert process.stdout
        writer = int(process.stdout.readline())
        time.sleep(4.0)  # it has come to the lock
        process.kill()
        process.wait()
        killed = time.monotonic()
        wait_for(lambda: gone(writer))
        assert time.monotonic() - killed < 6.0
    with Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep"), *(record(f"trial-{n}") for n in range(6))])
    assert_whole(uri)


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
        wait_for(lambda: runs(uri))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            tracker._process.send_signal(number)
        tracker.level([record("sweep"), record("trial-0")])
    assert tracker._deaths == 0
    assert_whole(uri, trials=1)


def test_an_exception_leaves_killed_runs_within_seconds(uri: str) -> None:
    with suppress(KeyboardInterrupt), Tracker(uri, STUDY) as tracker:
        tracker.level([record("sweep", state="RUNNING"), record("trial-0"), record("trial-1", 3, "RUNNING")])
        wait_for(lambda: len(runs(uri)) == 3)
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
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
        with Tracker(uri, STUDY):
            wait_for(lambda: states(uri) == {"alive": "RUNNING", "dead": "KILLED"})


# Who is away


def test_four_sweeps_start_together_on_a_fresh_database(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys
        from src.tracking.record import RunRecord
        from src.tracking.tracker import Tracker
        with Tracker(sys.argv[1], "digits") as tracker:
            tracker.project(RunRecord("sweep", sys.argv[2], sys.argv[2], None, "FINISHED", curves={"loss": [1.0] * 50}))
    """)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    together = [warm.Popen([sys.executable, "-c", code, uri, f"sweep {n}"], cwd=ROOT) for n in range(4)]
    assert [process.wait(100) for process in together] == [0] * 4
    assert sorted(run.info.run_name for run in runs(uri)) == [f"sweep {n}" for n in range(4)]
    assert {len(curve(uri, run, "loss")) for run in runs(uri)} == {50}


def test_a_locked_database_delays_and_loses_nothing(uri: str, database: Path) -> None:
    with Tracker(uri, STUDY) as tracker:
        wait_for(lambda: client(uri).get_experiment_by_name(STUDY))
        with closing(lock(database)):
            began = time.monotonic()
            for epoch in range(1, 21):
                for n in range(6):
                    tracker.project(record(f"trial-{n}", epoch, "RUNNING" if epoch < 20 else "FINISHED"))
            tracker.project(record("sweep"))
            assert time.monotonic() - began < 3, "it does not wait for the lock"
            wait_for(lambda: "mlflow.db" in tracker.waiting())
        wait_for(lambda: not tracker.waiting())
    assert_whole(uri)


# For half a minute


def the_writer_may_die_any_number_of_times(uri: str) -> None:
    """The sweep never stops for it, says what it waits for, and in the end everything is there."""
    with Tracker(uri, STUDY) as tracker:
        said = set()
        for epoch in range(1, 8):
            tracker._process.kill()
            tracker._process.wait()
            began = time.monotonic()
            tracker.level([record(f"trial-{n}", epoch, "RUNNING") for n in range(6)])
            said.add(tracker.waiting())
            assert time.monotonic() - began < 1
            wait_for(lambda: not tracker.waiting())
        assert any("died" in words for words in said)
        assert tracker._deaths == 7
        tracker.level([record("sweep"), *(record(f"trial-{n}") for n in range(6))])
    assert_whole(uri)


def a_database_may_be_locked_for_longer_than_mlflow_waits(uri: str) -> None:
    with Tracker(uri, STUDY) as tracker:
        wait_for(lambda: client(uri).get_experiment_by_name(STUDY))
        with closing(lock(Path(uri.removeprefix("sqlite:///")))):
            tracker.level([record("sweep"), *(record(f"trial-{n}") for n in range(6))])
            time.sleep(30.0)
    assert_whole(uri)


def a_server_that_restarts_loses_nothing(store: str) -> None:
    tmp_path = Path(store.removeprefix("sqlite:///")).parent
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "MLmodel").write_text("flavors: {}")
    port = free_port()
    options = "--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")
    uri = f"http://127.0.0.1:{port}"
    with ExitStack() as up:
        up.enter_context(mlflow_server(tmp_path, *options, port=port))
        check(uri)
        with Tracker(uri, STUDY) as tracker:
            tracker.level([record("sweep", state="RUNNING"), *(record(f"trial-{n}", 7, "RUNNING") for n in range(6))])
            wait_for(lambda: len(runs(uri)) > 3, 60)
            up.close()
            tracker.level([record("sweep"), *(record(f"trial-{n}", model=bundle) for n in range(6))])
            time.sleep(10)
            up.enter_context(mlflow_server(tmp_path, *options, port=port))
        assert_whole(uri)
        run = by_key(uri)["trial-5"]
        assert [item.path for item in client(uri).list_artifacts(run.info.run_id, "model")] == ["model/MLmodel"]


@pytest.mark.slow
def test_what_takes_long_loses_nothing(empty: Path, tmp_path: Path) -> None:
    """All at once, since they mostly wait."""
    waits = [
        the_writer_may_die_any_number_of_times,
        a_database_may_be_locked_for_longer_than_mlflow_waits,
        a_server_that_restarts_loses_nothing,
    ]

    def run(wait: Callable[[str], None]) -> None:
        (tmp_path / wait.__name__).mkdir()
        wait(f"sqlite:///{shutil.copy(empty, tmp_path / wait.__name__)}")

    with ThreadPoolExecutor(len(waits)) as pool:
        assert list(pool.map(run, waits)) == [None] * len(waits)
