"""The life of worker processes: they end with the process that started them, and none hangs for longer than it may."""

import faulthandler
import fcntl
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from src.engine import PRELOAD

GRACE = 5.0  # seconds in which work whose time is over can still end by itself


class TimeIsOverError(Exception):
    """The work has taken more time than `trial.timeout` allows."""


def pool(workers: int) -> ProcessPoolExecutor:
    """Make a pool of so many workers, each a process that is forked from one which has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    return ProcessPoolExecutor(workers, context, start)


def start() -> None:
    """Make this process a worker: one thread, no signals of the terminal, and gone when its parent is."""
    from src.population.member import one_thread

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    one_thread()
    _end_with_parent()


def _end_with_parent() -> None:
    """End this process at once when the one that started it is gone, though both are children of a forkserver.

    The parent holds the other end of a pipe that breaks with it. The kernel then sends SIGIO, which ends a process even
    while a computation holds its interpreter; where it does not, a thread waits for the same.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    pipe = parent.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def time_limit(seconds: float | None, note: Path) -> Iterator[None]:
    """Raise an error inside the block after so many seconds; None: never.

    Where the block does not end by that, since it catches all errors or holds the interpreter, this process ends `GRACE`
    seconds later, and `note` has the traceback.

    Raises:
        TimeIsOverError: the time is over.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeIsOverError(f"it took more than trial.timeout={seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    with note.open("w", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=file)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, before)
            note.unlink(missing_ok=True)


def last_words(note: Path) -> str:
    """Return the traceback of a process that `time_limit` has ended, and remove its `note`; "" where there is none."""
    try:
        text = note.read_text(encoding="utf-8")
    except OSError:
        return ""
    note.unlink(missing_ok=True)
    return text
