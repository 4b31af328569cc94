"""Optuna's journal file: written by one process, which appends records that belong together at once, and read by any."""

import hashlib
import json
import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from src.study.records import Damaged
from src.system.errors import UserError
from src.system.files import sync_folder

_CHECKSUM = re.compile(rb',"sha256":"([0-9a-f]{16})"}\n')  # the end of a record


class _Checksums:
    """The digest of all records so far, which each record ends with: one that changed, or is missing, breaks those behind.

    Records without one are passed over: earlier versions wrote them, or another program, such as Optuna's dashboard.
    """

    def __init__(self, journal: bytes = b"") -> None:
        """Check a journal of whole records.

        Raises:
            Damaged: one has changed since it was written, or is missing.
        """
        self._digest = hashlib.sha256()
        for number, line in enumerate(journal.splitlines(keepends=True), start=1):
            if (end := _CHECKSUM.search(line)) and end.group(1) != self._follow(line[: end.start()]):
                raise Damaged(f"line {number} is not as it was written, or one before it is missing")

    def line(self, record: dict[str, Any]) -> bytes:
        """Write the next record."""
        text = json.dumps(record, separators=(",", ":")).encode()[:-1]
        return text + b',"sha256":"' + self._follow(text) + b'"}\n'

    def copy(self) -> "_Checksums":
        other = _Checksums()
        other._digest = self._digest.copy()
        return other

    def _follow(self, text: bytes) -> bytes:
        self._digest.update(text)
        return self._digest.hexdigest()[:16].encode()


class Journal(JournalFileBackend):
    """The backend of a study whose process holds the study's own lock, so that the file needs none.

    A last record that a crash left incomplete, and so unacknowledged, is cut off when the journal is opened.
    """

    def __init__(self, path: Path) -> None:
        """Raises:
        Damaged: a record has changed since it was written, or is missing.
        """
        whole = _cut_torn_tail(path)
        self._count, self._checksums = whole.count(b"\n"), _Checksums(whole)
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
        size, checksums = self._path.stat().st_size, self._checksums.copy()
        lines = [checksums.line(record) for record in self._pending]
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self._path, size)
            raise UserError(
                f"study.root: {self._path} cannot be written ({error.strerror}); "
                "the study is whole, so the same command goes on once it can"
            ) from error
        self._checksums = checksums
        self._count += len(self._pending)
        self._pending = []


class JournalReader(BaseJournalBackend):
    """The journal of a study that another process may be writing: a record not yet complete is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The complete records from a number on."""
        data = self._path.read_bytes()
        whole = data[: _complete_bytes(data)]
        _Checksums(whole)
        return [json.loads(line) for line in whole.splitlines()[log_number_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse to write: reading a study changes nothing of it."""
        raise AssertionError(f"{self._path} is open for reading")


class _NoLock(BaseJournalFileLock):
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_tail(path: Path) -> bytes:
    """Cut off a last record that is not complete; return those before."""
    if not path.exists():
        return b""
    data = path.read_bytes()
    complete = _complete_bytes(data)
    if complete < len(data):
        os.truncate(path, complete)
    return data[:complete]


def _complete_bytes(data: bytes) -> int:
    """The length of a journal without a last record that is not complete."""
    end = data.rfind(b"\n") + 1
    last = data.rfind(b"\n", 0, max(0, end - 1)) + 1
    try:
        json.loads(data[last:end] or b"{}")
    except ValueError:
        return last
    return end
