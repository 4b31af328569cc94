"""Studies in a database: what a server that is away, or cut off in mid-commit, does to them is nothing."""

import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from src.study.history import History
from src.study.study import Study
from src.system.errors import UserError
from tests.support.postgres import PASSWORD, Server
from tests.support.stored import Stored, identity, opened, table

pytestmark = pytest.mark.usefixtures("no_connection_stays")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> History:
    return to_the_end(Stored(opened(tmp_path_factory.mktemp("undisturbed"))))


def to_the_end(live: Stored) -> History:
    while live.step():
        pass
    return live.history


def check_whole(study: Study, url: str, folder: Path, undisturbed: History) -> None:
    """The same table here, in the storage, and as Optuna counts."""
    assert table(study.history) == table(opened(folder, url).history) == table(undisturbed)
    theirs = optuna.load_study(study_name=study.name, storage=url).trials
    assert [t.params for t in theirs] == [t.params for t in undisturbed.trials]
    assert [t.state.is_finished() for t in theirs] == [True] * len(theirs)


def test_a_server_that_crashes_and_comes_back_is_waited_for(
    postgres: Server, tmp_path: Path, undisturbed: History
) -> None:
    url = postgres.fresh()
    live = Stored(opened(tmp_path, url))
    for _ in range(20):
        live.step()
    postgres.stop(crash=True)
    back = threading.Timer(2.0, postgres.start)
    back.start()
    try:
        to_the_end(live)
    finally:
        back.join()
    check_whole(live.study, url, tmp_path, undisturbed)


def test_reads_wait_for_a_server_that_is_away(postgres: Server, tmp_path: Path) -> None:
    """Each of them, since a sweep that reads in the second of a restart is not to end by it."""
    study = opened(tmp_path, postgres.fresh())
    live = Stored(study)
    live.step()
    storage, (trial, *_) = study.storage, study.storage.get_all_trials(study.id)
    reads: list[Callable[[], object]] = [
        lambda: storage.get_study_id_from_name(study.name),
        lambda: storage.get_study_directions(study.id),
        lambda: storage.get_study_system_attrs(study.id),
        lambda: storage.get_study_user_attrs(study.id),
        lambda: [vars(frozen) for frozen in storage.get_all_studies()],
        lambda: storage.get_trial(trial._trial_id),
        lambda: storage.get_all_trials(study.id),
    ]
    before = [repr(read()) for read in reads]
    postgres.stop()
    with ThreadPoolExecutor(len(reads)) as threads:
        answers = [threads.submit(read) for read in reads]
        time.sleep(0.5)
        assert not any(answer.done() for answer in answers)
        postgres.start()
        assert [repr(answer.result(60)) for answer in answers] == before


class Wire:
    """Lies between a client and a server. Of each kind of write it loses the answer to one commit, and the connection."""

    def __init__(self, port: int) -> None:
        self.server = port
        self.kinds = {b"INSERT INTO trials ", b"UPDATE trials SET state", b"trial_intermediate_v", b"trial_system_attr"}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        said = b""
        with client, socket.create_connection(("127.0.0.1", self.server)) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    if not (data := source.recv(1 << 16)):
                        return
                    (server if source is client else client).sendall(data)
                    said += data if source is client else b""
                    if b"COMMIT" not in said:
                        continue
                    if lost := {
                        kind for kind in self.kinds if b"INSERT INTO " in said or b"UPDATE" in said if kind in said
                    }:
                        self.kinds.discard(lost.pop())
                        server.recv(1 << 16)
                        return
                    said = b""


@pytest.fixture
def wire(postgres: Server) -> Iterator[Wire]:
    made = Wire(postgres.port)
    yield made
    made.listener.close()


def test_a_commit_whose_answer_was_lost_is_done_once(
    postgres: Server, wire: Wire, tmp_path: Path, undisturbed: History
) -> None:
    url = postgres.fresh()
    study = opened(tmp_path, url.replace(str(postgres.port), str(wire.port)))
    to_the_end(Stored(study))
    assert not wire.kinds, "the answer to each kind of write was lost once"
    check_whole(study, url, tmp_path, undisturbed)


def test_a_database_locked_for_long_is_waited_for(tmp_path: Path, undisturbed: History) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path}/optuna.db?timeout=0.1"
    live = Stored(opened(tmp_path, url))
    live.step()
    connection = sqlite3.connect(tmp_path / "optuna.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(2.0, connection.close)
    release.start()
    began = time.monotonic()
    live.step()
    assert time.monotonic() - began > 1.5
    to_the_end(live)
    check_whole(live.study, url, tmp_path, undisturbed)


def test_a_server_that_stays_away_ends_the_sweep_in_one_sentence(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: History
) -> None:
    monkeypatch.setattr("src.study.database.PATIENCE", 1.0)
    monkeypatch.setattr("src.study.storage.OPENING", 1.0)
    url = postgres.fresh()
    live = Stored(opened(tmp_path, url))
    for _ in range(10):
        live.step()
    postgres.stop()
    try:
        with pytest.raises(UserError, match=r"storage: .*the study is whole, so the same command goes on") as error:
            to_the_end(live)
        assert "\n" not in str(error.value)
        with pytest.raises(UserError, match="cannot be opened") as error:
            opened(tmp_path, url)
        assert "secret" not in str(error.value)
    finally:
        postgres.start()
    again = opened(tmp_path, url)
    to_the_end(Stored(again))
    check_whole(again, url, tmp_path, undisturbed)


@pytest.mark.parametrize("storage", ["sqlite", "postgresql"])
def test_processes_that_open_a_fresh_database_together_all_run(
    storage: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = storage == "postgresql"
    url = request.getfixturevalue("postgres").fresh() if server else f"sqlite:///{tmp_path}/optuna.db"
    code = "import sys; from src.study.database import Database; Database(sys.argv[1])"
    command = [sys.executable, "-c", code, url]
    root = Path(__file__).parents[2]
    several = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] * bool(process.returncode) for process in several] == [""] * 4


def test_a_study_has_a_folder_of_its_own_in_each_storage(postgres: Server, tmp_path: Path) -> None:
    """However it is named and wherever it is reached: checkpoints of one must not be taken for the other's."""
    urls = [None, postgres.fresh(), postgres.fresh(), f"sqlite:///{tmp_path}/optuna.db"]
    studies = [opened(tmp_path, url) for url in urls]
    assert len({study.name for study in studies}) == 1
    assert len({study.folder for study in studies}) == 4
    assert studies[0].folder == tmp_path / "studies" / identity().name
    assert all(study.folder.parent == tmp_path / "studies" and study.folder.is_dir() for study in studies)
    other_way = str(urls[1]).replace(f":{PASSWORD}@127.0.0.1", "@localhost") + f"?password={PASSWORD}"
    assert opened(tmp_path, other_way).folder == studies[1].folder
    assert [opened(tmp_path, url).folder for url in urls] == [study.folder for study in studies]
