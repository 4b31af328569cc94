"""Optuna's journal file with one writer: records that belong together go to disk together, and a torn tail is mended."""

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from src.system.errors import UserError
from src.system.files import sync_folder


class Journal(JournalFileBackend):
    """The backend of a study whose process holds the study's own lock, so that the file needs none."""

    def __init__(self, path: Path) -> None:
        self._count = _mend(path)
        super().__init__(str(path), _Unlocked())
        sync_folder(path.parent)
        self._path = path
        self._pending: list[dict[str, Any]] = []
        self._held = False

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        if log_number_from < self._count:
            yield from super().read_logs(log_number_from)
        yield from self._pending[max(0, log_number_from - self._count) :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._pending += logs
        if not self._held:
            self._flush()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All records made inside are one append."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
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


class _Unlocked(BaseJournalFileLock):
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> int:
    """Cut off a last record that is not whole, which a crash left unacknowledged; returns the number of those before."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    last = data.rfind(b"\n", 0, max(0, whole - 1)) + 1
    try:
        json.loads(data[last:whole] or b"{}")
    except ValueError:
        whole = last
    if whole < len(data):
        os.truncate(path, whole)
    return data.count(b"\n", 0, whole)
