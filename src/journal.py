"""Optuna's journal file with one writer: records that belong together go to disk together, and a torn tail is mended."""

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from src.errors import UserError


class Journal(JournalFileBackend):
    """The backend of a study whose process holds the study's own lock, so that the file needs none."""

    def __init__(self, path: Path) -> None:
        _mend(path)
        super().__init__(str(path), _Unlocked())
        self._path = path
        self._count = sum(1 for _ in super().read_logs(0))
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
        """All records made inside are one append: all of them survive a crash, or none."""
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
                f"study.root: {self._path} cannot be written ({error.strerror}); the study is whole"
            ) from error
        self._count += len(self._pending)
        self._pending = []


class _Unlocked(BaseJournalFileLock):
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> None:
    """Cut off what a crash left of a record that was never acknowledged: from the first line that is not whole."""
    if not path.exists():
        return
    whole = 0
    with path.open("rb") as file:
        for line in file:
            try:
                json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
    if whole < path.stat().st_size:
        os.truncate(path, whole)
