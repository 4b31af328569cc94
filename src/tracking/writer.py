"""The writer process of a `Tracker`: takes records from a pipe and sees to it that MLflow shows them.

It outlives its sweep by as long as it takes to leave no run RUNNING, but only by seconds: the next start does what is left.
It ignores the signals that are meant for the sweep.
"""

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeVar

from src.system.errors import UserError, masked
from src.tracking.record import RunRecord

if TYPE_CHECKING:
    from src.tracking.runs import Runs


T = TypeVar("T")

PATIENCE = 90.0  # seconds that MLflow may stay away after the sweep's end; while the sweep runs, for ever
_HURRY = 2.0  # seconds for what is still unwritten when the sweep died
_LIFE = 4.0  # seconds until it ends after the sweep died, whatever it waits for
_PATIENT = 2.0  # seconds that a step may take before the sweep is told
_PERIOD = 1.0  # seconds between writes, so that twenty reports of one trial cost one


def write(pipe: int) -> None:
    """Carry the records from `pipe` to MLflow until it ends. Signals are the sweep's to answer."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with suppress(AttributeError):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with suppress(EOFError):  # the sweep has died before its first word
        _Writer(Connection(pipe)).work()


class _Hurry(Exception):
    """The sweep is dead: what is not written by now waits for the next start."""


class _Lost(Exception):
    """MLflow stayed away for too long."""


class _Inbox:
    """The records that have arrived and are not yet written. A thread empties the pipe, so that the sweep never waits."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._news: dict[tuple[str, str], RunRecord] = {}
        self._changed = threading.Condition()
        self.ended: float | None = None
        self.hurry = False  # ended by death
        self.open = False  # whether MLflow may show something of this process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        sweep = os.getppid()
        try:
            while (message := self._next(sweep)) != "close":
                with self._changed:
                    self._news.update({(record.fingerprint, record.key): record for record in message})
                    self._changed.notify()
            self._end()
            self._next(sweep)  # nothing more comes, but the sweep may die while it waits
        except (EOFError, OSError):
            self.hurry = True
            timer = Timer(_LIFE if self.open else 0.0, os._exit, [1])
            timer.daemon = True
            timer.start()
            self._end()

    def _end(self) -> None:
        with self._changed:
            self.ended = self.ended or time.monotonic()
            self._changed.notify()

    def _next(self, sweep: int) -> Any:
        while not self._pipe.poll(1.0):
            if os.getppid() != sweep:  # dead, though a process that it forked may hold the pipe open
                raise EOFError
        return self._pipe.recv()

    def take(self) -> list[RunRecord]:
        """Wait for records and take the newest of each run, in order of first mention; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._news or self.ended)
            records, self._news = list(self._news.values()), {}
            return records

    def pause(self, seconds: float) -> None:
        """Wait for so many seconds, or until the sweep ends."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, seconds)


class _Writer:
    """Carries records to MLflow, and while the sweep runs never gives up."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._address = pipe.recv()
        self._inbox = _Inbox(pipe)
        self._where = f"tracking.uri={masked(self._address[0])}"
        self._obstacle = ""
        self._sending = threading.Lock()

    def work(self) -> None:
        """Write until the sweep ends, in order or by death."""
        try:
            gc.disable()  # a fifth of the time that these imports take
            from src.tracking.runs import Runs

            gc.freeze()
            gc.enable()
            self._inbox.open = True
            logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it prints tracebacks of what is retried
            runs = self._insist(partial(Runs, *self._address))
            with suppress(_Hurry):
                self._project(runs)
            self._insist(runs.kill_running, last=True)
            self._send("closed", runs.ids(), time.process_time())
        except (UserError, ImportError, _Lost) as error:
            self._send("lost", str(error))
        except _Hurry:
            pass

    def _project(self, runs: "Runs") -> None:
        while records := self._inbox.take():
            begun = time.monotonic()
            for fingerprint in dict.fromkeys(record.fingerprint for record in records):
                alive = {record.key for record in records if record.fingerprint == fingerprint}
                self._insist(partial(runs.claim, fingerprint, alive))
            for record in records:
                try:
                    self._insist(partial(runs.write, record))
                except UserError as error:
                    self._send("refused", str(error))
            self._inbox.pause(begun + _PERIOD - time.monotonic())

    def _insist(self, act: Callable[[], T], last: bool = False) -> T:
        """Try `act` until it works; twice where waiting cures nothing; at most `PATIENCE` seconds after the sweep's end."""
        from src.tracking.obstacles import curable, obstacle

        failed_at, pause, hopeless = 0.0, 0.1, False
        while True:
            if self._inbox.hurry and not last and time.monotonic() > (self._inbox.ended or 0.0) + _HURRY:
                raise _Hurry
            try:
                with self._telling_delays():
                    result = act()
                self._name_obstacle("")
                return result
            except UserError:
                raise
            except Exception as error:
                cause = f"{self._where}: {obstacle(error)}"
                if not curable(error):
                    if hopeless:
                        raise UserError(f"{cause}.") from error
                    hopeless = True
                failed_at = failed_at or time.monotonic()
                self._name_obstacle(cause)
                ended = self._inbox.ended
                if ended and time.monotonic() > max(ended, failed_at) + PATIENCE:
                    again = "the study is whole, so run the same command again to bring MLflow level"
                    raise _Lost(f"{cause}, for more than {PATIENCE:.0f} s; {again}.") from error
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    @contextmanager
    def _telling_delays(self) -> Iterator[None]:
        """Tell the sweep where a step takes long: a database that is locked waits for its turn without a word."""
        timer = Timer(_PATIENT, self._name_obstacle, [f"{self._where}: no answer yet"])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _name_obstacle(self, cause: str) -> None:
        """Tell the sweep what is waited for, where that has changed."""
        if cause != self._obstacle:
            self._obstacle = cause
            self._send("waiting", cause)

    def _send(self, *message: Any) -> None:
        with self._sending, suppress(OSError):  # the sweep may be dead
            self._pipe.send(message)
