"""A sweep as a person runs it: the same table from any number of workers, killed or not, and MLflow level with it."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from src.diagnosis.rules import KINDS
from tests.support.postgres import Server
from tests.support.running import ROOT, Place, alive, end_all, kill, wait_until
from tests.support.sweeps import check_outputs, check_times, check_tracking

SMALL = ("n_trials=12", "epochs=6", "seed=1")
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def place(tmp_path: Path, prepared: Path) -> Place:
    return Place(tmp_path, prepared)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Place:
    """A sweep on two workers that ran through."""
    place = Place(tmp_path_factory.mktemp("undisturbed"), prepared)
    place.run(*SMALL, "workers=2")
    return place


# --- the figure ------------------------------------------------------------------------------------------------------


def test_the_table_is_the_same_on_one_worker_and_on_two(undisturbed: Place, place: Place) -> None:
    place.run(*SMALL, "workers=1")
    for name in ("trials.csv", "curves.csv", "best.yaml", "summary.json", "predictions.npz"):
        assert (place.out / name).read_bytes() == (undisturbed.out / name).read_bytes(), name
    for weights in (place.out / "weights").iterdir():
        assert weights.read_bytes() == (undisturbed.out / "weights" / weights.name).read_bytes()


def test_the_folder_and_mlflow_say_what_happened(undisturbed: Place) -> None:
    check_outputs(undisturbed)
    check_tracking(undisturbed)
    check_times(undisturbed)
    states = {row["state"] for row in undisturbed.rows()}
    assert states == {"complete", "pruned"}
    timing = json.loads((undisturbed.out / "timing.json").read_text())
    assert len(timing["trials"]) == 12
    assert timing["wall_s"] >= timing["train_s"] > 0
    assert 0 < timing["workers_busy"] <= 1
    ids = {timing["mlflow_run_id"], *(trial["run_id"] for trial in timing["trials"].values())}
    assert ids == {uuid for (uuid,) in undisturbed.query("SELECT run_uuid FROM runs")}


def test_stopped_and_killed_and_resumed_it_comes_to_the_same_end(undisturbed: Place, place: Place) -> None:
    """Each signal once, SIGKILL to everything, a second copy beside it, torn checkpoints, other code: then the end."""
    for count, number in enumerate([signal.SIGKILL, *SIGNALS]):
        process = place.start(*SMALL)
        assert wait_until(lambda count=count: place.events() >= 1 + 2 * count, process), process.communicate()
        if number == signal.SIGKILL:
            kill(process)
            for checkpoint in place.studies[0].glob("checkpoints/*"):
                checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
            continue
        if number == signal.SIGTERM:
            os.kill(process.pid, signal.SIGSTOP)
            second = place.run(*SMALL, ok=False)
            os.kill(process.pid, signal.SIGCONT)
            assert second.stderr.strip() == (
                f"error: the sweep of digits-mlp is running already (process {process.pid}); wait for it or stop it"
            )
        began = time.monotonic()
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=30)
        assert time.monotonic() - began < 15, "it stops soon, on a busy machine too"
        assert process.returncode == 128 + number, err
        assert err.splitlines()[-1] == f"stopped by {number.name}; the same command goes on from here"
        assert "Traceback" not in err
        wait_for_death(process.pid)
        assert {status for (status,) in place.query("SELECT status FROM runs")} <= {"KILLED", "FAILED", "FINISHED"}
        assert place.query("SELECT count(*) FROM runs WHERE status = 'KILLED'") != [(0,)]
    place.run(*SMALL)
    assert place.trials == undisturbed.trials
    assert len(place.studies) == 1
    check_outputs(place)
    check_tracking(place)


def wait_for_death(group: int) -> None:
    end = time.monotonic() + 5
    while found := alive(group):
        assert time.monotonic() < end, found
        time.sleep(0.05)


@pytest.mark.slow
def test_the_whole_figure(tmp_path: Path, prepared: Path) -> None:
    """40 trials of 9 epochs with TPE and ASHA: on one worker, on two, and killed at ten random moments."""
    figure = ("n_trials=40", "epochs=9", "search=tpe", "search.pruner=asha")
    one, two, killed = (Place(tmp_path / name, prepared) for name in ("one", "two", "killed"))
    two.run(*figure, "workers=2")
    timing = json.loads((two.out / "timing.json").read_text())
    print({key: value for key, value in timing.items() if key != "trials"})
    one.run(*figure, "workers=1")
    draw, kills = random.Random(0), 0
    while kills < 10:
        process = killed.start(*figure)
        begun = killed.events()
        draws = draw.randint(0, 3)
        if wait_until(lambda begun=begun, draws=draws: killed.events() >= begun + draws, process):
            time.sleep(draw.uniform(0.0, 0.1))
            kill(process)
            kills += 1
        else:
            assert process.wait() == 0
            break
    killed.run(*figure)
    assert kills == 10
    assert one.trials == two.trials == killed.trials
    assert (one.out / "curves.csv").read_bytes() == (killed.out / "curves.csv").read_bytes()
    for place in (one, two, killed):
        check_outputs(place)
        check_tracking(place)


def test_progress_is_what_trials_and_curves_say(undisturbed: Place) -> None:
    """Epochs spent rise to those of all trials, the best so far to the best of all; each report has its seconds."""
    rows = undisturbed.rows("progress")
    epochs = [int(row["epochs"]) for row in rows]
    best = [float(row["best"]) for row in rows if row["best"]]
    assert epochs == sorted(epochs)
    assert epochs[-1] == sum(int(row["epochs"]) for row in undisturbed.rows())
    assert best == sorted(best)
    assert best[-1] == max(float(row["value"]) for row in undisturbed.rows() if row["state"] == "complete")
    assert len(json.loads((undisturbed.out / "timing.json").read_text())["segment_s"]) == len(rows)


# --- running again ---------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(undisturbed: Place, tmp_path: Path) -> Place:
    """A copy of the finished sweep to go on with."""
    place = Place(tmp_path / "copy")
    shutil.copytree(undisturbed.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    return place


def test_a_rerun_trains_nothing_and_a_larger_total_goes_on(undisturbed: Place, finished: Place) -> None:
    journal = finished.studies[0] / "journal.log"
    before, trials = journal.read_bytes(), finished.trials
    (finished.out / ".trials.csv.abcd.tmp").write_text("half written")
    finished.run(*SMALL)
    assert journal.read_bytes() == before
    assert finished.trials == trials
    timing = json.loads((finished.out / "timing.json").read_text())
    assert timing["trials_per_minute"] == 0
    assert not list(finished.out.glob(".*"))
    check_tracking(finished)

    (finished.out / "weights" / "999.safetensors").write_text("of another sweep")
    finished.run("n_trials=15", *SMALL[1:])
    assert len(finished.rows()) == 15
    assert [row["params.optimizer.lr"] for row in finished.rows()][:12] == [
        row["params.optimizer.lr"] for row in undisturbed.rows()
    ]
    assert journal.read_bytes().startswith(before)
    check_outputs(finished)
    check_tracking(finished)


def test_a_complete_trial_whose_checkpoint_is_lost_is_trained_again(undisturbed: Place, finished: Place) -> None:
    """Changed by a bit or gone, with its model or not: the weights behind the sweep are the same, the study as it was."""
    (study,) = finished.studies
    journal = (study / "journal.log").read_bytes()
    changed, gone = [path for path in sorted(study.glob("checkpoints/*")) if path.stem.endswith("-6")][:2]
    whole = changed.read_bytes()
    changed.write_bytes(whole[:-5000] + bytes([whole[-5000] ^ 1]) + whole[-4999:])
    gone.unlink()
    shutil.rmtree(study / "models" / gone.stem.partition("-")[0])
    shutil.rmtree(finished.out)
    finished.run(*SMALL)
    for path in sorted(undisturbed.out.rglob("*")):
        if path.is_file() and path.name not in ("timing.json", "SHA256SUMS"):
            assert (finished.out / path.relative_to(undisturbed.out)).read_bytes() == path.read_bytes(), path.name
    assert (study / "journal.log").read_bytes() == journal
    check_tracking(finished)


@pytest.mark.slow
def test_a_fresh_study_trains_anew_and_another_config_is_another_study(finished: Place) -> None:
    journal, trials = finished.studies[0] / "journal.log", finished.trials
    before = journal.read_bytes()
    finished.run(*SMALL, "study.fresh=true")
    assert len(finished.studies) == 2
    assert journal.read_bytes() == before
    assert finished.trials == trials
    check_outputs(finished)
    for count, word in enumerate(("epochs=1", "model.activation=gelu", "model.depth=1", "slots=3"), start=3):
        finished.run("n_trials=3", "search=random", "epochs=2", word)
        assert len(finished.studies) == count, word


@pytest.mark.slow
def test_changed_code_is_refused_accepted_and_recorded(prepared: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    place = Place(tmp_path / "place", prepared)
    process = place.start(*SMALL)
    assert wait_until(lambda: place.events() >= 1, process)
    kill(process)
    place.root = project  # the same code elsewhere
    optim = project / "src" / "optim" / "optimizers" / "adamw.py"
    plain = optim.read_text()
    optim.write_text(f"# a comment\n{plain}")
    process = place.start(*SMALL)
    before = place.events()
    assert wait_until(lambda: place.events() > before, process), "a comment is no code"
    kill(process)
    optim.write_text(f"{plain}\nNEW = 1\n")
    refused = place.run(*SMALL, ok=False)
    assert refused.stderr.strip() == (
        f"error: study {place.studies[0].name} is unfinished and src/optim/optimizers/adamw.py has changed since; "
        "study.accept_code=true goes on with it, study.fresh=true starts anew"
    )
    place.run(*SMALL, "study.accept_code=true")
    assert len(place.studies) == 1
    assert len(place.rows()) == 12
    assert '"accepted"' in (place.studies[0] / "journal.log").read_text()
    check_tracking(place)


# --- trials that fail ------------------------------------------------------------------------------------------------


def test_diverged_trials_fail_and_are_never_best(place: Place) -> None:
    place.run(
        "optimizer=sgd", "n_trials=10", "epochs=2", "search=random", "space.optimizer.lr.high=1e20", "model.norm=none"
    )
    failed = [row for row in place.rows() if row["state"] == "fail"]
    assert 0 < len(failed) < 10
    assert {(row["diagnosis"].partition(": ")[0], row["value"]) for row in failed} == {("diverged", "")}
    check_outputs(place)
    states = dict(place.query("SELECT status, count(*) FROM runs GROUP BY status"))
    assert states["FAILED"] == len(failed)


def test_when_every_trial_fails_the_commonest_reason_comes_first(place: Place) -> None:
    place.out.mkdir(parents=True)
    (place.out / "best.yaml").write_text("of an earlier sweep")
    failed = place.run("optimizer=sgd", "optimizer.lr=1e30", "n_trials=5", "epochs=2", "search=random", ok=False)
    assert failed.stderr.strip().splitlines()[-1] == (
        "error: no trial of digits-mlp is complete: 5 of 5 failed with: diverged"
    )
    assert [row["state"] for row in place.rows()] == ["fail"] * 5
    assert not (place.out / "best.yaml").exists()
    assert not (place.out / "predictions.npz").exists()
    assert place.query("SELECT status, count(*) FROM runs GROUP BY status") == [("FAILED", 6)]


BROKEN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, *, input_shape: tuple[int, ...], n_outputs: int, width: int) -> None:
        super().__init__()
        self.width, self.layer = width, nn.Linear(64, n_outputs)

    def forward(self, x):
        if self.width == 3:
            raise RuntimeError("three is no width")
        return self.layer(x.flatten(1))
"""
CONFIG = """# @package _global_
model: {name: mlp, _target_: broken.Net, width: 3}
"""


@pytest.fixture
def broken(place: Place) -> Iterator[tuple[str, ...]]:
    """A model of the user's that has a bug for one width."""
    (place.folder / "broken.py").write_text(BROKEN)
    group = place.folder / "mine" / "model"
    group.mkdir(parents=True)
    (group / "broken.yaml").write_text(CONFIG)
    return ("--config-dir", "mine", "model=broken", "trusted=[broken]", "epochs=2", "search=random", "slots=4")


def test_the_same_bug_in_the_first_trials_stops_the_sweep(place: Place, broken: tuple[str, ...]) -> None:
    stopped = place.run(*broken, "n_trials=40", ok=False)
    assert "error: the first 3 trials failed alike: three is no width" in stopped.stderr
    assert stopped.stderr.count("Traceback") == 1
    assert "broken.py" in stopped.stderr
    time.sleep(6.0)  # nothing outlives a sweep for longer, so a writer that was still importing MLflow has left no file
    assert (
        not (place.folder / "mlflow.db").exists()
        or (place.query("SELECT count(*) FROM sqlite_master WHERE name = 'runs'") == [(0,)])
        or (place.query("SELECT count(*) FROM runs WHERE status = 'RUNNING'") == [(0,)])
    )


def test_a_bug_whose_text_names_the_point_is_one_bug(place: Place, broken: tuple[str, ...]) -> None:
    """The shapes in the message differ from trial to trial; a ValueError of a user's code is a bug too."""
    code = BROKEN.replace("raise RuntimeError(", "raise ValueError(f'{self.width} features, not ' ").replace(
        "== 3", "> 0"
    )
    (place.folder / "broken.py").write_text(code, encoding="utf-8")
    space = "+space.model.width={type: int, low: 1, high: 1000}"
    stopped = place.run(*broken, "n_trials=40", "slots=1", space, ok=False)
    assert "error: the first 3 trials failed alike: " in stopped.stderr
    assert " features, not three is no width" in stopped.stderr
    assert stopped.stderr.count("Traceback") == 1
    assert "broken.py" in stopped.stderr


def test_one_trial_that_fails_by_a_bug_shows_its_traceback(place: Place, broken: tuple[str, ...]) -> None:
    code = BROKEN.replace("RuntimeError", "ValueError")
    (place.folder / "broken.py").write_text(code, encoding="utf-8")
    failed = place.run(*broken, "n_trials=1", ok=False)
    assert failed.stderr.strip().endswith("1 of 1 failed with: three is no width")
    assert failed.stdout.count("Traceback") == 1
    assert "broken.py" in failed.stdout


@pytest.mark.slow
def test_a_bug_for_some_points_fails_these_only(place: Place, broken: tuple[str, ...]) -> None:
    place.run(*broken, "n_trials=8", "+space.model.width={type: int, low: 1, high: 4}", "seed=0")
    states = {(int(row["params.model.width"]) == 3, row["state"]) for row in place.rows()}
    assert states == {(True, "fail"), (False, "complete")}
    assert {row["diagnosis"] for row in place.rows() if row["state"] == "fail"} == {"three is no width"}
    assert {row["diagnosis"].partition(": ")[0] for row in place.rows()} <= {*KINDS, "three is no width"}


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
@pytest.mark.parametrize("room", ["200k", "1m"])
def test_a_full_disk_is_one_clear_error_and_the_sweep_goes_on_later(
    undisturbed: Place, place: Place, room: str
) -> None:
    """Too small for a few checkpoints, or for all."""
    disk = place.folder / ".lockstep"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        full = place.run(*SMALL, ok=False)
        errors = [line for line in full.stderr.splitlines() if "error" in line.lower()]
        assert len(errors) == 1
        assert "No space left on device" in errors[0]
        assert "goes on" in errors[0]
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        place.run(*SMALL)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert place.trials == undisturbed.trials
    check_outputs(place)
    check_tracking(place)


@pytest.mark.slow
def test_a_clock_that_jumps_by_an_hour_changes_nothing(undisturbed: Place, tmp_path: Path, prepared: Path) -> None:
    """In every process: each look at the wall clock is an hour later, or earlier, than the last."""
    place = Place(tmp_path / "place", prepared, cold=True)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "real, jumps = time.time, itertools.cycle([0, 3600, -3600])\n"
        "time.time = lambda: real() + next(jumps)\n"
    )
    place.run(*SMALL, first_path=hooks)
    assert place.trials == undisturbed.trials
    check_tracking(place)


@pytest.mark.slow
@pytest.mark.usefixtures("no_connection_stays")
@pytest.mark.parametrize("storage", ["sqlite", "postgresql"])
def test_a_database_as_storage_gives_the_same_table(
    undisturbed: Place, place: Place, storage: str, request: pytest.FixtureRequest
) -> None:
    """Killed twice, and then the server restarted in mid-sweep."""
    server = request.getfixturevalue("postgres") if storage == "postgresql" else None
    url = server.fresh() if server else f"sqlite:///{place.folder}/optuna.db"
    theirs, words = RDBStorage(url, {"pool_pre_ping": True}), (*SMALL, f"storage={url}")

    def trials() -> list[FrozenTrial]:
        return [trial for study in theirs.get_all_studies() for trial in theirs.get_all_trials(study._study_id)]

    def over() -> int:
        return sum(trial.state.is_finished() for trial in trials())

    for count in (1, 3):
        process = place.start(*words)
        assert wait_until(lambda count=count: over() >= count, process), process.communicate()
        kill(process)
    begun = over()
    process = place.start(*words)
    if server:
        assert wait_until(lambda: over() > begun + 1, process), process.communicate()  # one may be of the killed
        server.stop()
        time.sleep(2.0)
        waits = process.poll() is None
        server.start()
        assert waits, process.communicate()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert place.trials == undisturbed.trials
    check_tracking(place)
    curve = [float(row["val/accuracy"]) for row in place.rows("curves") if row["number"] == "0"]
    assert list(trials()[0].intermediate_values.values()) == curve


@pytest.mark.slow
def test_mlflow_on_postgresql_shows_the_sweep(place: Place, postgres: Server) -> None:
    uri = postgres.fresh()
    (place.folder / "mlflow.db").unlink()
    place.run("n_trials=4", "epochs=2", "seed=1", f"tracking.uri={uri}")
    with psycopg.connect(uri.replace("+psycopg", "")) as connection:
        runs = connection.execute("SELECT name, status, artifact_uri FROM runs ORDER BY start_time, name").fetchall()
        points = connection.execute("SELECT count(*) FROM metrics WHERE key = 'val/accuracy'").fetchone()
    assert {name: status for name, status, _ in runs} == {
        "sweep digits-mlp": "FINISHED",
        **{f"mlp {row['number']}": {"complete": "FINISHED", "pruned": "KILLED"}[row["state"]] for row in place.rows()},
    }
    assert points == (len(place.rows("curves")),)
    (best,) = (Path(folder.removeprefix("file://")) for name, _, folder in runs if name == f"mlp {best_number(place)}")
    assert best.is_relative_to(place.folder / "mlartifacts")
    assert (best / "model" / "MLmodel").is_file()
    assert not (place.folder / "mlflow.db").exists()


def best_number(place: Place) -> int:
    return int(json.loads((place.out / "summary.json").read_text())["best_number"])


@pytest.mark.slow
def test_a_conditional_space_killed_and_on_other_workers(place: Place, tmp_path: Path, prepared: Path) -> None:
    words = ("choose={optimizer: [sgd, adamw]}", "n_trials=20", "epochs=6", "search=tpe")
    other = Place(tmp_path / "other", prepared)
    other.run(*words, "workers=1")
    process = place.start(*words)
    assert wait_until(lambda: place.events() >= 15, process)
    kill(process)
    place.run(*words)
    assert place.trials == other.trials
    assert {row["params.optimizer"] for row in place.rows()} == {"sgd", "adamw"}
    check_tracking(place)
