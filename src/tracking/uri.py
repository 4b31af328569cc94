"""The address of MLflow: its forms, and a check that it works."""

import os
import shutil
import socket
import sqlite3
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLError
from urllib.parse import urlsplit

from src.system.errors import UserError, first_line, masked, refuse_unescaped_password
from src.system.services import STARTING, connect_options, connection_error, until_it_answers

OPENING = 20.0  # seconds for a server that starts
ATTEMPT = 5.0  # seconds for one attempt to reach it
EMPTY_BYTES, ROWS_BYTES = 1_500_000, 100_000  # of a database that MLflow makes, and of the least that a sweep adds


def absolute(uri: str) -> str:
    """Make the path of a SQLite file in `uri` absolute, since the writer works in another folder."""
    path = sqlite_file(uri)
    return f"sqlite:///{path}" if path else uri


def sqlite_file(uri: str) -> Path | None:
    """Find the database file of a `sqlite:///path`; None for a server."""
    scheme, _, path = uri.partition(":///")
    return _project() / path if scheme == "sqlite" and path not in ("", ":memory:") else None


def _project() -> Path:
    """The folder where relative paths begin: this one, or of a copy that `dvc exp run --temp` made the project itself.

    DVC deletes such a copy, `.dvc/tmp/exps/<name>`, and with it all that nobody looks for in it.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder.parts[-4:-1] == (".dvc", "tmp", "exps"):
            return folder.parents[3]
    return here


def artifacts(uri: str) -> Path | None:
    """Find the folder for files of new experiments: beside a SQLite file, here for another database; None for a server."""
    if path := sqlite_file(uri):
        return path.parent / "mlartifacts"
    return None if urlsplit(uri).scheme in ("http", "https") else _project() / "mlartifacts"


def check(uri: str) -> None:
    """Refuse in one sentence, without importing mlflow, a tracking.uri that cannot work; wait for a server that is away.

    Raises:
        UserError: a store that MLflow no longer writes, a SQLite file that cannot be read and written or that a newer
            MLflow made, a server that does not answer for long or is none of MLflow's, a database that lets nobody in.
    """
    refuse_unescaped_password("tracking.uri", uri)
    scheme = uri.partition("://")[0].partition("+")[0].lower()
    if path := sqlite_file(uri):
        _check_sqlite(uri, path)
    elif scheme in ("http", "https", *_PORTS):
        ask = _ask_server if scheme in ("http", "https") else _ask_database
        _check_place(uri)
        try:
            until_it_answers(partial(ask, uri), _away, f"MLflow at {masked(uri)}", OPENING)
        except OSError as error:
            raise UserError(
                f"tracking.uri={masked(uri)}: {connection_error(error)}, so start the server or correct the URI."
            ) from error
    else:
        ways = "sqlite:///mlflow.db, http://host:5000 or postgresql://user@host/database"
        raise UserError(f"tracking.uri={masked(uri)}: MLflow writes to a database or a server, so give {ways}.")


_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def _check_sqlite(uri: str, path: Path) -> None:
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"tracking.uri={uri}: {folder} is no folder that can be written to.")
    needed = ROWS_BYTES if path.exists() else EMPTY_BYTES + ROWS_BYTES
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UserError(f"tracking.uri={uri}: {folder} has {free:,} bytes free and needs {needed:,}; free some.")
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
    migrated = {file.name.split("_")[0] for file in migrations.glob("*.py")}
    if newer := {revision for (revision,) in revisions} - migrated:
        raise UserError(
            f"tracking.uri={uri}: made by a newer MLflow (schema {min(newer)}), so upgrade mlflow or name another file."
        )


def _away(error: Exception) -> str:
    """Say why a server may be away for a moment only; a host that is not known, and a bad certificate, are mistakes."""
    lasting = isinstance(error, socket.gaierror | SSLError) and error.errno != socket.EAI_AGAIN
    return connection_error(error) if isinstance(error, OSError) and not lasting else ""


def _check_place(uri: str) -> None:
    """Refuse a URI whose host or port is none."""
    try:
        parts = urlsplit(uri)
        if parts.port == 0 or not (
            parts.hostname or parts.scheme.partition("+")[0] in _PORTS
        ):  # or a database's socket
            raise ValueError("it names no host, or no port")
    except ValueError as error:
        raise UserError(f"tracking.uri={masked(uri)}: {first_line(error)}, so correct the URI.") from error


def _ask_server(uri: str) -> None:
    from src.tracking.server import ask

    ask(uri, ATTEMPT)


def _ask_database(uri: str) -> None:
    """Open the database once.

    Raises:
        UserError: it lets nobody in.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import SQLAlchemyError

    parts = urlsplit(uri)
    port = parts.port or _PORTS[parts.scheme.partition("+")[0]]
    if parts.hostname:  # else a socket file, of the driver's own choice
        socket.create_connection((parts.hostname, port), timeout=ATTEMPT).close()
    try:
        create_engine(uri, poolclass=NullPool, **connect_options(uri)).connect().close()
    except (SQLAlchemyError, ImportError) as error:
        if STARTING.search(str(error)):
            raise OSError(first_line(error)) from error
        raise UserError(f"tracking.uri={masked(uri)}: cannot be opened ({first_line(error)}).") from error
