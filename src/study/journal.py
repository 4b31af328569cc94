"""Optuna's journal file: written by one process, which appends records that belong together at once, and read by any."""

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from src.system.errors import UserError
from src.system.files import sync_folder


class Journal(JournalFileBackend):
    """The backend of a study whose process holds the study's own lock, so that the file needs none.

    A last record that a crash left incomplete, and so unacknowledged, is cut off when the journal is opened.
    """

    def __init__(self, path: Path) -> None:
        self._count = _cut_torn_tail(path)
        super().__init__(str(path), _NoLock())
        sync_folder(path.parent)
        self._path = path
        self._pending: list[dict[str, Any]] = []
        self._grouping = False

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The records from a number on, those that wait for the end of a group too."""
        if log_number_from < self._count:
            yield from super().read_logs(log_number_from)
        yield from self._pending[max(0, log_number_from - self._count) :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records; outside of `together` they are on disk when this returns.

        Raises:
            UserError: the file cannot be written.
        """
        self._pending += logs
        if not self._grouping:
            self._flush()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all records of the block by one append.

        Raises:
            UserError: the file cannot be written.
        """
        self._grouping = True
        try:
            yield
        finally:
            self._grouping = False
        self._flush()

    def _flush(self) -> None:
        size = self._path.stat().st_size
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in self._pending)
        try:
            with self._path.open("ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self._path, size)
            raise UserError(
                f"study.root: {self._path} cannot be written ({error.strerror}); "
                "the study is whole, so the same command goes on once it can"
            ) from error
        self._count += len(self._pending)
        self._pending = []


class JournalReader(BaseJournalBackend):
    """The journal of a study that another process may be writing: a record not yet complete is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The complete records from a number on."""
        data = self._path.read_bytes()
        lines = data[: _complete_bytes(data)].splitlines()
        return [json.loads(line) for line in lines[log_number_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse to write: reading a study changes nothing of it."""
        raise AssertionError(f"{self._path} is open for reading")


class _NoLock(BaseJournalFileLock):
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_tail(path: Path) -> int:
    """Cut off a last record that is not complete; return the number of those before."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    complete = _complete_bytes(data)
    if complete < len(data):
        os.truncate(path, complete)
    return data.count(b"\n", 0, complete)


def _complete_bytes(data: bytes) -> int:
    """The length of a journal without a last record that is not complete."""
    end = data.rfind(b"\n") + 1
    last = data.rfind(b"\n", 0, max(0, end - 1)) + 1
    try:
        json.loads(data[last:end] or b"{}")
    except ValueError:
        return last
    return end
