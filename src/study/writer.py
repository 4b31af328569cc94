"""The right to write a study in a database: of one driver at a time, on whatever machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from src.study.storage import open_database
from src.system.errors import UserError, first_line
from src.system.fingerprint import digest
from src.system.services import connect_options

PATIENCE = 90.0  # seconds that a server may be away
MOMENT = 5.0  # seconds in which a driver that was killed is forgotten
KEEPALIVE = {"idle": 10, "interval": 5, "count": 3}  # seconds after which a machine that is gone is forgotten: 25


class Writer:
    """An advisory lock of PostgreSQL, of one connection: it falls with the driver, or with the server.

    Other databases have none that falls by itself; there the lock file on the driver's disk is all.
    """

    def __init__(self, url: str, stem: str, task: str) -> None:
        """Take the lock.

        Args:
            url: the database.
            stem: the beginning of the names of the studies to write.
            task: what is done, as a person calls it.

        Raises:
            UserError: another driver has it, or the database cannot be opened.
        """
        from sqlalchemy import NullPool, create_engine

        self._number, self._task = int(digest(stem)[:15], 16), task
        self._engine = open_database(url, lambda: create_engine(url, poolclass=NullPool, **connect_options(url)))
        self._connection: Any = open_database(url, self._taken)

    def renew(self) -> None:
        """See that the lock is still taken, or take it again; a server that is away is waited for.

        Raises:
            UserError: another driver has it, or the server has been away for long.
        """
        from sqlalchemy.exc import InterfaceError, OperationalError

        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self._connection is None:
                    self._connection = self._taken()
                self._connection.exec_driver_sql("SELECT 1")
                return
            except (OperationalError, InterfaceError) as error:
                self.close()
                if time.monotonic() > end:
                    raise UserError(
                        f"storage: {first_line(error)}; the study is whole, so the same command goes on"
                    ) from error
            time.sleep(1.0)

    def close(self) -> None:
        """Let another driver have it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _taken(self) -> Any:
        """Return the connection that has the lock."""
        end = time.monotonic() + MOMENT
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for name, seconds in KEEPALIVE.items():
            connection.exec_driver_sql(f"SET tcp_keepalives_{name} = {seconds}")
        while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({self._number})").scalar():
            if time.monotonic() > end:
                connection.close()
                raise UserError(
                    f"{self._task} is running already, on another machine; wait for it or stop it "
                    "(where its machine is gone, this is noticed within half a minute)"
                )
            time.sleep(0.5)
        return connection


@contextmanager
def only_writer(url: str | None, stem: str, task: str) -> Iterator[Writer | None]:
    """Be the only driver that writes studies in a database, for a block; yields None where there is no such lock.

    Args:
        url: the database; None: there is none.
        stem: the beginning of the names of the studies.
        task: what is done, as a person calls it: "the sweep of digits-mlp".

    Raises:
        UserError: another driver writes them.
    """
    if url is None or not url.startswith("postgresql"):
        yield None
        return
    writer = Writer(url, stem, task)
    try:
        yield writer
    finally:
        writer.close()
