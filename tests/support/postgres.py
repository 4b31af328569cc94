"""A real PostgreSQL server for the tests, on loopback and a free port, its data in a temporary folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from tests.support.loopback import free_port

PASSWORD = "secret-of-postgres"
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))  # Debian's


class Server:
    """PostgreSQL; it may be stopped, killed and started again."""

    def __init__(self, programs: Path, folder: Path, account: str) -> None:
        self.programs, self.folder, self.account = programs, folder, account
        self.port = free_port()
        (folder / "password").write_text(PASSWORD)
        init = [
            "initdb",
            "--no-sync",
            "-A",
            "scram-sha-256",
            "--pwfile=password",
            "-U",
            "lockstep",
            "--locale=C",
            "--encoding=UTF8",
            "-D",
            "data",
        ]
        self._program(*init).communicate()

    def start(self) -> None:
        place = ["-D", "data", "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        self.process = self._program("postgres", *place)
        while True:
            try:
                psycopg.connect(self._url("postgresql", "postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert self.process.poll() is None, "the server does not start"
                time.sleep(0.05)

    def stop(self, crash: bool = False) -> None:
        """Connections are cut; a crash leaves what is not committed to the recovery at the next start."""
        self.process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        self.process.wait(60)

    def fresh(self) -> str:
        """The URL of an empty database."""
        name = f"d{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._url("postgresql", "postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        return self._url("postgresql+psycopg", name)

    def _url(self, scheme: str, database: str) -> str:
        return f"{scheme}://lockstep:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def _program(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        """As the unprivileged account that PostgreSQL asks for."""
        other = {"user": self.account, "group": pwd.getpwnam(self.account).pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [str(self.programs / name), *words],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **(other if os.geteuid() == 0 else {}),  # type: ignore[arg-type]
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    account = next((name for name in ("postgres", "nobody") if name in {p.pw_name for p in pwd.getpwall()}), "")
    if os.geteuid() == 0 and not account:
        pytest.skip("PostgreSQL does not run as root, and there is no account postgres or nobody")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not under pytest's, which other accounts cannot enter
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, account)
        server = Server(PROGRAMS[-1], folder, account)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def no_connection_stays() -> Iterator[None]:
    """A study keeps its connection until its process ends; many tests share one."""
    made: list[Any] = []

    def note(connection: Any, _: Any) -> None:
        made.append(connection)

    event.listen(Pool, "connect", note)
    yield
    event.remove(Pool, "connect", note)
    for connection in made:
        connection.close()
