"""What is in the way of MLflow is said in our own words, and waited for where that helps; the errors are real ones."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from src.tracking.obstacles import LOGIN, LONGEST, curable, obstacle
from tests.support.tracked import FIXTURES, client, lock
from tests.tracking.test_server import answering, talking

empty, database, *_ = FIXTURES

OWN = {  # of a server: whether waiting may help, and what a person is told
    (503, b"busy"): (True, "it answers with HTTP 503"),
    (500, b"<html>a proxy's page"): (True, "it answers with HTTP 500"),
    (429, b""): (True, "it answers with HTTP 429"),
    (200, b"<html>" + 9999 * b"x"): (False, "what answers there is no server of MLflow's"),
    (404, b"<html>"): (False, "what answers there is no server of MLflow's"),
    (401, b"You are not authenticated."): (False, LOGIN),
    (403, b"Permission denied"): (False, "it does not allow that to this user"),
    (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}'): (False, "it does not allow that to this user"),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def error_of(uri: str) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011, whatever MLflow raises
        client(uri).get_experiment_by_name("digits")
    return raised.value


@pytest.mark.parametrize(("status", "content"), OWN)
def test_an_answer_that_is_none(status: int, content: bytes) -> None:
    with answering(status, content) as uri:
        error = error_of(uri)
    assert (curable(error), obstacle(error)) == OWN[status, content]


@contextmanager
def nobody() -> Iterator[str]:
    with talking(b"") as place:
        pass
    yield place


@pytest.mark.parametrize(
    ("place", "words"), [(nobody, "nothing answers there"), (lambda: talking(b""), "it closes the connection")]
)
def test_a_server_that_is_away(place: Any, words: str) -> None:
    with place() as address:
        error = error_of(f"http://me:secret@{address}")
    assert (curable(error), obstacle(error)) == (True, words)


def test_a_host_that_is_not_known() -> None:
    assert obstacle(error_of("http://no.such.host.invalid")) == "its host is not known"


def test_a_locked_database_and_a_read_only_one(database: Path) -> None:
    with closing(lock(database)), pytest.raises(sqlite3.OperationalError) as locked:
        sqlite3.connect(database, timeout=0).execute("DELETE FROM tags")
    reader = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    with closing(reader), pytest.raises(sqlite3.OperationalError) as readonly:
        reader.execute("DELETE FROM tags")
    assert (curable(locked.value), obstacle(locked.value)) == (True, "another program has locked the database")
    assert (curable(readonly.value), obstacle(readonly.value)) == (True, "the database is read-only")


def test_other_words_are_one_short_line_without_a_password() -> None:
    words = obstacle(
        MlflowException("(psycopg.OperationalError) postgresql://me:secret@host is " + 999 * "x" + "\nmore")
    )
    assert words.startswith("postgresql://***@host is xxx")
    assert len(words) == LONGEST + 1
