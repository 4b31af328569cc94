"""The study is the truth: what it has acknowledged survives, and whoever finds it goes on as if nothing had been."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from src.study.history import Reported
from src.study.study import Study
from src.system.errors import UserError
from src.system.fingerprint import PACKAGES, TRIAL, code_digests
from tests.support.stored import CHOICES, CODE, Stored, identity, opened, table
from tests.support.virtual import EPOCHS

ROOT = Path(__file__).parents[2]
STORAGES = ["journal", "sqlite", "postgresql"]

pytestmark = pytest.mark.usefixtures("no_connection_stays")


@pytest.fixture
def url(storage: str, tmp_path: Path, request: pytest.FixtureRequest) -> str | None:
    """Of an empty storage of this kind."""
    if storage == "postgresql":
        return str(request.getfixturevalue("postgres").fresh())
    return {"journal": None, "sqlite": f"sqlite:///{tmp_path}/optuna.db"}[storage]


def run(study: Study, search: str = "random", steps: int = 10_000) -> Stored:
    """The sweep goes on for some results, by default to the end."""
    live = Stored(study, search)
    with study.together():
        live.fill()
    for _ in range(steps):
        if not live.step():
            break
    return live


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stored]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return {search: run(opened(folder / search), search) for search in ("random", "tpe")}


def journal_of(study: Study) -> Path:
    return study.folder / "journal.log"


# --- what is written is what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("steps", [0, 1, 25])
def test_reopened_it_is_the_same(tmp_path: Path, url: str | None, steps: int) -> None:
    live = run(opened(tmp_path, url), steps=steps).study
    again = opened(tmp_path, url)
    assert again.history == live.history
    assert (again.curves, again.seconds, again.attributes) == (live.curves, live.seconds, live.attributes)
    assert [(t.number, type(v)) for t in again.history.trials for v in t.params.values()] == [
        (t.number, type(v)) for t in live.history.trials for v in t.params.values()
    ]


@pytest.mark.parametrize("storage", STORAGES)
def test_optuna_reads_it(tmp_path: Path, url: str | None) -> None:
    """As its dashboard does: states, parameters, and every intermediate value at its epoch."""
    live = run(opened(tmp_path, url), steps=30)
    journal = str(journal_of(live.study))
    storage = url or JournalStorage(JournalFileBackend(journal, JournalFileOpenLock(journal)))
    study = optuna.load_study(study_name=live.study.name, storage=storage)
    states = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "fail": TrialState.FAIL,
        "running": TrialState.RUNNING,
        "paused": TrialState.RUNNING,
    }
    assert {"complete", "pruned", "fail", "running"} <= {t.state for t in live.history.trials}
    for theirs, ours in zip(study.trials, live.history.trials, strict=True):
        assert theirs.state is states[ours.state]
        assert theirs.params == ours.params
        assert theirs.intermediate_values == dict(enumerate(ours.values, start=1))
        assert theirs.value == ours.value
    assert live.history.best
    assert study.best_trial.number == live.history.best.number
    assert study.direction.name == "MINIMIZE"
    assert study.trials_dataframe().shape[0] == len(live.history.trials)


def test_a_step_is_one_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured as calls of fsync: whatever a result leads to is acknowledged with it."""
    live = run(opened(tmp_path), steps=5)
    calls = []
    monkeypatch.setattr(os, "fsync", calls.append)
    for count in range(1, 20):
        live.step()
        assert len(calls) == count


# --- crashes ---------------------------------------------------------------------------------------------------------


def test_a_torn_tail_loses_at_most_what_was_not_acknowledged(tmp_path: Path, undisturbed: dict[str, Stored]) -> None:
    """Cut at any byte of the last record, or around the end of another, it has all before it and comes to the same end."""
    live = run(opened(tmp_path / "live"), steps=2)
    journal, new = journal_of(live.study), []
    while not (
        len(new) > 1 and any(isinstance(e, Reported) and e.state in ("complete", "pruned", "fail") for e in new)
    ):
        before, events = journal.stat().st_size, list(live.history.events)
        live.step()
        new = live.history.events[len(events) :]
    whole = journal.read_bytes()
    lengths = set()
    ends = [before + n for n, byte in enumerate(whole[before:]) if byte == ord("\n")]
    last = range(ends[-2], ends[-1] + 2)
    for cut in sorted({before, *last, *(end + near for end in ends for near in (-9, 0, 1) if end + near >= before)}):
        folder = tmp_path / "torn"
        torn = folder / journal.relative_to(tmp_path / "live")
        torn.parent.mkdir(parents=True)
        torn.write_bytes(whole[:cut])
        study = opened(folder)
        found = study.history.events
        assert found[: len(events)] == events
        assert found == live.history.events[: len(found)]
        assert [t.state.is_finished() for t in study.storage.get_all_trials(study.id)] == [
            t.state in ("complete", "pruned", "fail") for t in study.history.trials
        ]
        if len(found) not in lengths:
            lengths.add(len(found))
            assert table(run(study).history) == table(undisturbed["random"].history)
            assert opened(folder).history == study.history
        shutil.rmtree(folder)
    assert lengths == set(range(len(events), len(live.history.events) + 1))


def test_a_study_torn_while_it_is_made_is_made_again(tmp_path: Path) -> None:
    study = opened(tmp_path / "whole")
    whole = journal_of(study).read_bytes()
    for cut in range(0, len(whole) + 1, 7):
        folder = tmp_path / str(cut)
        torn = folder / journal_of(study).relative_to(tmp_path / "whole")
        torn.parent.mkdir(parents=True)
        torn.write_bytes(whole[:cut])
        assert opened(folder).attributes == study.attributes
        other = opened(tmp_path / f"other-{cut}", identity=identity(code={"src/a.py": "2"}))
        assert other.history.trials == []


def test_a_journal_damaged_in_its_middle_is_refused(tmp_path: Path) -> None:
    """Nothing that was acknowledged is cut off in silence."""
    journal = journal_of(run(opened(tmp_path), steps=10).study)
    lines = journal.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:20], lines[20][:30] + b"\n", *lines[21:]])
    journal.write_bytes(damaged)
    with pytest.raises(UserError, match=r"journal\.log is damaged.*study\.fresh=true starts anew"):
        opened(tmp_path)
    assert journal.read_bytes() == damaged
    assert opened(tmp_path, fresh=True).history.trials == []


@pytest.mark.parametrize(
    ("storage", "search"),
    [
        ("journal", "tpe"),
        ("journal", "random"),
        pytest.param("sqlite", "random", marks=pytest.mark.slow),
        pytest.param("postgresql", "random", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments_it_comes_to_the_same_end(
    tmp_path: Path, storage: str, url: str | None, search: str, undisturbed: dict[str, Stored]
) -> None:
    """A process of its own under SIGKILL, again and again; what it said to be acknowledged is there."""
    draw = random.Random(0)
    command = [sys.executable, str(ROOT / "tests" / "support" / "stored.py"), str(tmp_path), url or "", search]
    for kill in [True] * 5 + [False]:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        assert process.stdout
        acknowledged = [process.stdout.readline() for _ in range(draw.randint(1, 7) if kill else 0)]
        if kill:
            time.sleep(draw.uniform(0.0, 0.01 if storage == "journal" else 0.1))
            process.kill()
        with process.stdout:
            acknowledged += process.stdout.readlines()
        assert process.wait() == (-signal.SIGKILL if kill else 0)
        found = opened(tmp_path, url).history
        assert len(found.events) >= max(int(line) for line in acknowledged if line.endswith("\n"))
    assert table(found) == table(undisturbed[search].history)


# --- disks that are full ---------------------------------------------------------------------------------------------


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_that_cannot_be_written_leaves_the_old_version_whole(
    tmp_path: Path, undisturbed: dict[str, Stored]
) -> None:
    """At every size at which a limit cuts the append."""
    live = run(opened(tmp_path), steps=20)
    journal, events = journal_of(live.study), list(live.history.events)
    before = journal.read_bytes()
    for room in (0, 1, 100, 700):
        study = opened(tmp_path)
        again = Stored(study)
        with no_file_larger_than(len(before) + room), pytest.raises(UserError, match="cannot be written") as error:
            again.step()
        assert "\n" not in str(error.value)
        assert journal.read_bytes() == before
        assert opened(tmp_path).history.events == events
    assert table(run(opened(tmp_path)).history) == table(undisturbed["random"].history)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_leaves_the_old_version_whole(tmp_path: Path, undisturbed: dict[str, Stored]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with pytest.raises(UserError, match="No space left on device"):
            run(opened(disk))
        count = len(opened(disk).history.events)
        assert count > 50
        shutil.copytree(disk, tmp_path / "larger")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    study = opened(tmp_path / "larger")
    assert len(study.history.events) == count
    assert table(run(study).history) == table(undisturbed["random"].history)


# --- which study it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
def test_changed_code_is_refused_while_the_study_is_unfinished(tmp_path: Path, url: str | None) -> None:
    changed = identity(code={**CODE, "src/a.py": "2"})
    first = run(opened(tmp_path, url), steps=9).study
    with pytest.raises(UserError, match=rf"{first.name} is unfinished and src/a\.py has changed since") as error:
        opened(tmp_path, url, identity=changed)
    assert "study.accept_code=true" in str(error.value)
    assert "study.fresh=true" in str(error.value)
    many = identity(code={**CODE, **{f"src/z{k}.py": "1" for k in range(60)}})
    with pytest.raises(
        UserError, match=r"is unfinished and src/z0\.py, src/z1\.py, src/z10\.py and 57 more have changed"
    ):
        opened(tmp_path, url, identity=many)
    accepted = opened(tmp_path, url, identity=changed, accept_code=True)
    assert accepted.name == first.name
    assert accepted.attributes["code"] == CODE
    assert accepted.attributes["accepted"] == [changed.code]
    assert opened(tmp_path, url, identity=changed).name == first.name, "it has been accepted before"
    with pytest.raises(UserError, match=r"torch has changed"):
        opened(tmp_path, url, identity=identity(code={**CODE, "torch": "3"}))
    with pytest.raises(UserError, match=r"src/b\.py has changed"):
        opened(tmp_path, url, identity=identity(code={**CODE, "src/b.py": "3"}))


@pytest.mark.parametrize("storage", STORAGES)
def test_changed_code_begins_another_study_once_the_first_is_finished(tmp_path: Path, url: str | None) -> None:
    changed = identity(code={**CODE, "src/a.py": "2"})
    first = run(opened(tmp_path, url), steps=4).study
    first.finish(True)
    second = opened(tmp_path, url, identity=changed)
    assert second.name != first.name
    assert second.history.trials == []
    assert opened(tmp_path, url).history == first.history


@pytest.mark.parametrize("storage", STORAGES)
def test_a_fresh_study_keeps_the_old(tmp_path: Path, url: str | None) -> None:
    first = run(opened(tmp_path, url), steps=4).study
    first.finish(True)
    names = [first.name]
    for _ in range(11 if url is None else 2):
        fresh = opened(tmp_path, url, fresh=True)
        assert fresh.history.trials == []
        run(fresh, steps=1)
        names.append(fresh.name)
        assert opened(tmp_path, url).name == fresh.name, "the newest goes on"
    assert len(set(names)) == len(names)
    if url is None:
        assert sorted(path.name for path in (tmp_path / "studies").iterdir()) == sorted(names)


def test_other_inputs_are_another_study(tmp_path: Path) -> None:
    first = run(opened(tmp_path), steps=3).study
    second = opened(tmp_path, identity=identity("cd" * 32))
    assert second.name != first.name
    assert second.history.trials == []


def test_what_was_chosen_when_it_was_made_stays(tmp_path: Path) -> None:
    opened(tmp_path)
    again = Study.open(tmp_path, None, identity(), "minimize", CHOICES | {"slots": 99})
    assert again.attributes["slots"] == CHOICES["slots"]


def test_finishing_is_noted_once(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.finish(True)
    size = journal_of(study).stat().st_size
    again = opened(tmp_path)
    again.finish(True)
    assert journal_of(study).stat().st_size == size
    again.finish(False)
    with pytest.raises(UserError, match="unfinished"):
        opened(tmp_path, identity=identity(code={}))


@pytest.mark.parametrize(
    "url",
    [
        *("nonsense", "redis://localhost", "http://localhost", "sqlite:////nowhere/at/all.db"),
        *("mysql://me:secret@127.0.0.1/x", "postgresql+psycopg://me:secret@127.0.0.1:1/x"),
        *("postgresql+psycopg://me:secret@no.such.host.invalid/x", "postgresql+psycopg://me:secret@127.0.0.1:port/x"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused_in_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="storage: ") as error:
        opened(tmp_path, url)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


# --- what counts as code ---------------------------------------------------------------------------------------------


def digests(folder: Path, edit: Callable[[str], str] = lambda text: text) -> dict[str, str]:
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "src" / "population" / "parameter_layout.py"
    path.write_text(edit(path.read_text()))
    return code_digests(folder / "src", TRIAL)


def test_comments_and_docstrings_are_no_code(tmp_path: Path) -> None:
    plain = digests(tmp_path / "a")
    assert plain == digests(tmp_path / "b", lambda text: "# new\n" + text.replace('"""Where', '"""Here is where'))
    changed = digests(tmp_path / "c", lambda text: text.replace("ALIGN = 16", "ALIGN = 32"))
    assert {name for name in plain if plain[name] != changed[name]} == {"src/population/parameter_layout.py"}


def test_what_can_change_a_trials_numbers_counts_and_what_cannot_does_not(tmp_path: Path) -> None:
    names = set(digests(tmp_path))
    assert {"src/sweeps/loop.py", "src/study/timetable.py", "src/search/strategies/tpe.py"} | {
        "src/models/architectures/mlp.py",
        "src/optim/optimizers/sgd.py",
    } <= names
    assert {"torch", "numpy", "optuna", "scipy", "cmaes", "tabm", *PACKAGES} <= names
    for word in ("tracking", "plots", "combiners", "report", "progress", "sweep.py"):
        assert not any(word in name for name in names)


def test_a_module_of_the_users_counts(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("WIDTH = 3\n")
    one = code_digests(ROOT / "src", TRIAL, more={"mine": path})
    path.write_text("WIDTH = 4\n")
    two = code_digests(ROOT / "src", TRIAL, more={"mine": path})
    assert {name for name in one if one[name] != two[name]} == {"mine"}


def test_the_journal_is_optunas_own_format(tmp_path: Path) -> None:
    """Line by line JSON with an operation code, so that any tool of Optuna's reads on."""
    live = run(opened(tmp_path), steps=5)
    for line in journal_of(live.study).read_text().splitlines():
        assert {"op_code", "worker_id"} <= json.loads(line).keys()
    assert all(t.epochs <= EPOCHS for t in live.history.trials)
