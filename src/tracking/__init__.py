"""The tracker: MLflow as a projection of the study.

A stage says what each run shall show (`RunRecord`), over and over as it learns more; one writer process per `Tracker`
makes MLflow show it. The study is the truth: whatever is lost here, `Tracker.level` brings back from it.

`writer.py` is that process, `runs.py` what it does to MLflow, `registry.py` the registered models. This file and the
writer import no mlflow, so that a stage does not wait for it.
"""

import os
import posixpath
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from src.errors import UserError, masked

_GRACE = 3.0  # seconds that a stopped sweep waits for its writer to make RUNNING runs KILLED
_CALM = {  # the writer's, where the user's environment says nothing else
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # it retries itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_NAME = re.compile(r"[/\w.\- :]{1,250}")


@dataclass(frozen=True)
class RunRecord:
    """All that MLflow shall show of one run. Projecting it twice changes nothing.

    Point i of a curve is epoch i + 1. NaN and infinities are stored as NaN: MLflow would make ±1.8e308 of an infinity,
    which no chart survives. A parameter and a point keep their first value; tags, model and artifacts follow the record.

    Raises:
        UserError: a name that MLflow refuses, or a parameter that it would cut in silence.
    """

    key: str  # unique inside the fingerprint: "sweep", "trial-12", "member-3"
    fingerprint: str  # of the study; one Tracker at a time writes its runs, another waits
    name: str
    parent: str | None  # key of the parent run
    state: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
    params: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # final figures, at the step of the last epoch
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)  # name, sha256, source, n_train
    model: Path | None = None  # a bundle of `serving.write_bundle`, shown as the artifact "model"
    artifacts: Mapping[str, Path] = field(default_factory=dict)  # artifact path → local file
    started: float | None = None  # Unix seconds; by default those of the projection
    ended: float | None = None

    def __post_init__(self) -> None:
        for kind, names in (("Parameter", self.params), ("Metric", self.curves), ("Metric", self.metrics)):
            for name in names:
                if not _NAME.fullmatch(name) or posixpath.normpath(name) != name or name.startswith(("/", "..")):
                    allowed = "up to 250 letters, digits, spaces and _ - . : /"
                    raise UserError(f"{kind} {name!r} of {self.name}: MLflow takes names of {allowed}.")
        for name, value in self.params.items():
            if (length := len(str(value))) > 6000:
                raise UserError(f"Parameter {name!r} of {self.name}: {length} characters, MLflow keeps at most 6000.")
        if twice := self.curves.keys() & self.metrics.keys():
            raise ValueError(f"{sorted(twice)} of {self.name}: a figure is either a curve or final")


class Tracker:
    """Makes MLflow show what it is told, in a process of its own, and never makes the training wait.

    Leaving the context writes all that is pending, unless an exception passes. Runs that are RUNNING when the context
    is left or this process dies become KILLED.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._address = (absolute(uri), experiment, Path(sys.argv[0]).name, artifacts(uri))
        self._latest: dict[tuple[str, str], RunRecord] = {}
        self._refusals: list[str] = []
        self._starts = 0
        self._ready = self._closing = self._closed = False
        self.run_ids: dict[str, str] = {}  # key → run id, once closed
        self.seconds = 0.0  # CPU time of the writer, once closed
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._stop()

    def project(self, record: RunRecord) -> None:
        """Have `record` shown within seconds. Raises UserError where MLflow has refused something since the last call."""
        self.level([record])

    def level(self, records: Iterable[RunRecord]) -> None:
        """Bring MLflow level with the study.

        On the first records of a fingerprint its other runs that a dead process left RUNNING become KILLED.
        """
        batch = [_portable(record) for record in records]
        self._latest.update({(record.fingerprint, record.key): record for record in batch})
        while self._pipe.poll():
            self._hear()
        self._raise_refusals()
        self._say(batch)

    def ready(self, timeout: float = 60.0) -> bool:
        """Whether the writer has reached MLflow within `timeout` seconds. Raises UserError where it never will."""
        while not self._ready and self._pipe.poll(timeout):
            self._hear()
        return self._ready

    def close(self) -> dict[str, str]:
        """Wait until all is written, for up to 90 s while MLflow is away; return the run ids by key.

        Raises UserError where something could not be written. The study has it: the next start brings MLflow level.
        """
        try:
            self._closing = True
            if not self._closed:
                self._say("close")
            while not self._closed:
                self._hear()
        finally:
            self._stop()
        self._raise_refusals()
        return self.run_ids

    def _stop(self) -> None:
        """Close the pipe; at its end the writer makes RUNNING runs KILLED and leaves, at once or when MLflow is back."""
        self._closed = True
        self._pipe.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            threading.Thread(target=self._process.wait, daemon=True).start()

    def _start(self) -> None:
        self._starts += 1
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from src.tracking.writer import write; write({theirs.fileno()})"],
                cwd=Path(__file__).parents[2],
                env=_CALM | dict(os.environ),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # neither Ctrl-C nor a closed terminal reaches it
            )
        self._pipe = Connection(ours.detach())
        self._pipe.send(self._address)

    def _restart(self) -> None:
        self._pipe.close()
        code = self._process.wait()
        if self._starts == 3:
            self._closed = True
            raise UserError(
                f"The MLflow writer died three times, at last with exit code {code}: see its message above."
            )
        self._start()
        self._say(list(self._latest.values()))
        if self._closing:
            self._say("close")

    def _say(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            self._hear()  # its last words, or the end of the pipe and a new writer
            self._say(message)

    def _hear(self) -> None:
        try:
            kind, *content = self._pipe.recv()
        except (EOFError, OSError):
            self._restart()
            return
        if kind == "ready":
            self._ready = True
        elif kind == "refused":
            self._refusals += content
        elif kind == "closed":
            self.run_ids, self.seconds = content
            self._closed = True
        else:  # lost
            self._closed = True
            raise UserError(content[0])

    def _raise_refusals(self) -> None:
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            raise UserError(refusals[0])


def absolute(uri: str) -> str:
    """`uri` with the path of a SQLite file made absolute: the writer works in another folder."""
    path = sqlite_file(uri)
    return f"sqlite:///{path}" if path else uri


def sqlite_file(uri: str) -> Path | None:
    """The database file of a `sqlite:///path`; None for a server."""
    scheme, _, path = uri.partition(":///")
    return Path(path).absolute() if scheme == "sqlite" and path not in ("", ":memory:") else None


def artifacts(uri: str) -> Path | None:
    """Where the files of new experiments stand: beside a SQLite file, here for another database; a server has its own."""
    if path := sqlite_file(uri):
        return path.parent / "mlartifacts"
    return None if urlsplit(uri).scheme in ("http", "https") else Path("mlartifacts").absolute()


def check(uri: str) -> None:
    """Refuse in one sentence, within seconds and without importing mlflow, a tracking.uri that cannot work.

    Raises:
        UserError: a store that MLflow no longer writes, a SQLite file that cannot be read and written or that a newer
            MLflow made, a server that does not answer, a database that lets nobody in.
    """
    scheme = urlsplit(uri).scheme.split("+")[0]
    if path := sqlite_file(uri):
        _check_sqlite(uri, path)
    elif scheme in _PORTS:
        _check_server(uri, _PORTS[scheme])
        if scheme not in ("http", "https"):
            _check_database(uri)
    else:
        ways = "sqlite:///mlflow.db, http://host:5000 or postgresql://user@host/database"
        raise UserError(f"tracking.uri={masked(uri)}: MLflow writes to a database or a server, so give {ways}.")


_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def _check_sqlite(uri: str, path: Path) -> None:
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"tracking.uri={uri}: {folder} is no folder that can be written to.")
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
            revisions = (
                database.execute("SELECT version_num FROM alembic_version").fetchall()
                if "alembic_version" in tables
                else []
            )
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if "locked" in str(error):
            return
        raise UserError(f"tracking.uri={uri}: not a SQLite database that can be read and written ({error}).") from error
    spec = find_spec("mlflow")
    migrations = Path(spec.origin or "").parent / "store" / "db_migrations" / "versions" if spec else Path()
    known = {file.name.split("_")[0] for file in migrations.glob("*.py")}
    if newer := {revision for (revision,) in revisions} - known:
        raise UserError(
            f"tracking.uri={uri}: made by a newer MLflow (schema {min(newer)}), so upgrade mlflow or name another file."
        )


def _check_server(uri: str, port: int) -> None:
    parts = urlsplit(uri)
    try:
        socket.create_connection((parts.hostname or "", parts.port or port), timeout=5.0).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"tracking.uri={masked(uri)}: nothing answers there ({error}), so start the server or correct the URI."
        ) from error


def _portable(record: RunRecord) -> RunRecord:
    """For a process in another folder, and no larger than it has to be."""
    artifacts = {name: path.absolute() for name, path in record.artifacts.items()}
    dataset = {key: record.dataset[key] for key in ("name", "sha256", "source", "n_train") if key in record.dataset}
    return replace(record, model=record.model and record.model.absolute(), artifacts=artifacts, dataset=dataset)


def _check_database(uri: str) -> None:
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_engine(uri, poolclass=NullPool).connect().close()
    except (SQLAlchemyError, ImportError) as error:
        cause = str(error).partition("\n")[0]
        raise UserError(f"tracking.uri={masked(uri)}: cannot be opened ({cause}).") from error
