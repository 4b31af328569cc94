"""The line that a person watches while a sweep runs."""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from threading import Timer
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from src.engine.elastic import Load
from src.study.history import History
from src.system.errors import printable

EVERY = 10.0  # seconds between plain lines, where there is no terminal
PATIENCE = 3.0  # seconds of waiting that need no word


class Progress:
    """A live line on a terminal; elsewhere a plain one now and then, where there is news."""

    def __init__(self, name: str, total: int, history: History, load: Callable[[], Load | None] = lambda: None) -> None:
        """Begin the line `name` of a sweep of `total` trials, whose `history` it shows, and the `load` of its workers."""
        self.name, self.total, self.history, self._load = name, total, history, load
        self._before = self._over()
        self._began = time.monotonic()
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._last, self._text, self._printed = 0.0, "", ""
        self._waits: tuple[str, float] | None = None
        live = Live(console=self._console, refresh_per_second=8, get_renderable=self._shown)
        self._live = live if sys.stderr.isatty() else None
        self._ended = False
        self._awaited: int | None = None
        self._reports, self._reported = len(history.events), self._began

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended = kind is None
        self.show(final=True)
        if self._live:
            self._live.stop()

    def show(self, awaited: int | None = None, final: bool = False, waiting: str = "") -> None:
        """Bring the line up to date.

        Args:
            awaited: the trial whose report comes next, if any.
            final: whether this is the last time.
            waiting: what the records wait for, if anything.
        """
        self._awaited = awaited
        if len(self.history.events) != self._reports:
            self._reports, self._reported = len(self.history.events), time.monotonic()
        tail = f"; waiting for {printable(waiting)}" if waiting else ""
        if self._live:
            self._text = self.line() + tail
            self._live.refresh()
        elif (final or time.monotonic() - self._last > EVERY) and (line := self.line() + tail) != self._printed:
            self._last, self._printed = time.monotonic(), line
            print(line, file=sys.stderr, flush=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say for what the sweep waits, if the block takes more than `PATIENCE` seconds."""
        before, self._waits = self._waits, (what, time.monotonic())
        timer = Timer(PATIENCE, self._print_waiting)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._waits = before

    def _print_waiting(self) -> None:
        """Print it where there is no live line, which shows it itself."""
        if self._waits and not self._live:
            print(f"{self.name}:{self._suffix()}", file=sys.stderr, flush=True)

    def _shown(self) -> str:
        return self._text + (f",{self._suffix()}" if self._suffix() else "")

    def _suffix(self) -> str:
        what, since = self._waits or ("", inf)
        seconds = time.monotonic() - since
        return f" waiting for {what} ({seconds:.0f} s)" if seconds >= PATIENCE else ""

    def line(self) -> str:
        """Trials done of all, running, paused, pruned, failed, the best and its number, the rate and the time left.

        At the end only what has become of them: a grid, or a terminator, may need fewer trials than there could be.
        """
        count = Counter(trial.state for trial in self.history.trials)
        over, best = self._over(), self.history.best
        rate = self.done / max(time.monotonic() - self._began, 1e-9)
        parts = [f"{over} trials"] if self._ended else [f"{over}/{self.total} trials", f"{count['running']} running"]
        parts += [f"{count[state]} {state}" for state in ("paused", "pruned") if count[state] or state == "pruned"]
        parts += [f"{count['fail']} failed"] * bool(count["fail"])
        parts += [f"best {best.value:.4f} (trial {best.number})"] if best else []
        if self.done and not count["paused"]:  # those may go on or be over at once, so no rate says when
            parts += [f"{60 * rate:.0f} trials/min"]
            parts += [f"{max(0, self.total - over) / rate:.0f} s left"] * (not self._ended)
        parts += [] if self._ended else self._workers()
        minutes = int(time.monotonic() - self._reported) // 60
        if minutes and self._awaited is not None and not self._ended:
            parts += [f"trial {self._awaited} has not reported for {minutes} min"]
        return f"{self.name}: {', '.join(parts)}"

    def _workers(self) -> list[str]:
        """Describe how many workers there are, what waits for one, and which has trained a segment for minutes."""
        load = self._load()
        if load is None:
            return []
        parts = [f"{load.workers} workers, {load.waiting} segments waiting"]
        if minutes := int(load.seconds) // 60:
            where = f" on {load.worker}" if load.worker else ""
            (number,) = re.findall(r"\d+", load.oldest)[:1]
            parts += [f"trial {number} has trained for {minutes} min{where}"]
        return parts

    @property
    def done(self) -> int:
        """Trials that have ended since the start of this process."""
        return self._over() - self._before

    def _over(self) -> int:
        """A trial that goes on as another is not over."""
        return sum(1 for _ in self.history.of("complete", "pruned", "fail")) - sum(
            1 for trial in self.history.trials if trial.start_from
        )
