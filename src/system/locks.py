"""Locks between processes: files that one process holds at a time, until it ends, however it does."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from src.system.errors import UserError
from src.system.fingerprint import digest


def output_lock(root: Path, out: Path) -> Path:
    """Name the lock, below `root`, of a stage that writes into the folder `out`."""
    return root / "locks" / f"out-{digest(str(out.absolute()))[:16]}"


def take(lock: Path) -> IO[str] | None:
    """Take `lock` until the returned file is closed, at the latest by the end of the process; None where another has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = lock.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def exclusive(lock: Path, task: str) -> Iterator[None]:
    """Hold `lock` for a `task`, such as "the sweep of digits-mlp". It falls with the process, however that ends.

    Raises:
        UserError: another process holds it.
    """
    file = take(lock)
    if file is None:
        owner = lock.read_text(encoding="utf-8").strip() or "unknown"
        raise UserError(f"{task} is running already (process {owner}); wait for it or stop it")
    with file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_held(lock: Path) -> bool:
    """Tell whether a process holds `lock`; the file is left as it is."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
