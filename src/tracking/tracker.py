"""The tracker: MLflow as a projection of the study.

A stage says what each run shall show (`RunRecord`), over and over as it learns more; one writer process per `Tracker`
makes MLflow show it. The study is the truth: whatever is lost here, `Tracker.level` brings back from it.

`writer.py` is that process, `runs.py` what it does to MLflow, `registry.py` the registered models. This file and the
writer import no mlflow, so that a stage does not wait for it.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from src.system.errors import UserError, printable
from src.tracking.record import RunRecord, for_writer
from src.tracking.uri import absolute, artifacts
from src.tracking.writer import PATIENCE

_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds after which a writer that died is followed by the next
_SHORT_LIFE = 5.0  # seconds; a writer that dies sooner may do so again
_GRACE = 3.0  # seconds that a stopped sweep waits for its writer to make RUNNING runs KILLED
_CALM = {  # the writer's, where the user's environment says nothing else
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # it retries itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class Tracker:
    """The projection of records into MLflow by a process apart, for which the training never waits.

    Leaving the context writes all that is pending, unless an exception passes. Runs that are RUNNING when the context
    is left or this process dies become KILLED.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._address = (absolute(uri), experiment, Path(sys.argv[0]).name, artifacts(uri))
        self._latest: dict[tuple[str, str], RunRecord] = {}
        self._refusals: list[str] = []
        self._deaths, self._code = 0, 0
        self._pause = _PAUSE
        self._retry_at: float | None = None  # when the next writer starts, once one has died
        self._obstacle = ""
        self._closing = self._closed = False
        self.run_ids: dict[str, str] = {}  # key → run id, once closed
        self.seconds = 0.0  # CPU time of the writer, once closed
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._stop()

    def project(self, record: RunRecord) -> None:
        """Have `record` shown within seconds.

        Raises:
            UserError: MLflow has refused something since the last call.
        """
        self.level([record])

    def level(self, records: Iterable[RunRecord]) -> None:
        """Bring MLflow level with the study.

        On the first records of a fingerprint its other runs that a dead process left RUNNING become KILLED.
        """
        batch = [for_writer(record) for record in records]
        self._latest.update({(record.fingerprint, record.key): record for record in batch})
        self._listen()
        self._raise_refusals()
        if not self._is_down:  # else the next writer gets all of them
            self._send(batch)

    def waiting(self) -> str:
        """Say in a few words what keeps the writer from its work just now; "" where nothing does.

        Raises:
            UserError: it has given up.
        """
        self._listen()
        return "the next writer of MLflow's runs, since the last one died" if self._is_down else self._obstacle

    def close(self) -> dict[str, str]:
        """Wait until all is written, for up to 90 s while MLflow is away; return the run ids by key.

        Raises:
            UserError: something could not be written. The study has it: the next start brings MLflow level.
        """
        began = time.monotonic()
        try:
            self._closing = True
            if not self._closed and not self._is_down:
                self._send("close")
            while not self._closed:
                if not self._is_down:
                    self._hear()
                elif time.monotonic() > began + PATIENCE:
                    raise UserError(
                        f"the writer of MLflow's runs died {self._deaths} times, at last with exit code {self._code}; see "
                        "its message above, then run the same command again, since the study is whole"
                    )
                else:
                    time.sleep(0.05)
                    self._revive()
        finally:
            self._stop()
        self._raise_refusals()
        return self.run_ids

    def _stop(self) -> None:
        """Close the pipe; at its end the writer makes RUNNING runs KILLED and leaves, at once or when MLflow is back."""
        self._closed = True
        self._pipe.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            threading.Thread(target=self._process.wait, daemon=True).start()

    def _start(self) -> None:
        self._started, self._retry_at = time.monotonic(), None
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from src.tracking.writer import write; write({theirs.fileno()})"],
                cwd=Path(__file__).parents[2],
                env=_CALM | dict(os.environ),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # neither Ctrl-C nor a closed terminal reaches it
            )
        self._pipe = Connection(ours.detach())
        self._pipe.send(self._address)

    def _listen(self) -> None:
        """Take what the writer has said, and start another one where it has died."""
        self._revive()
        while not self._closed and not self._is_down and self._pipe.poll():
            self._hear()

    @property
    def _is_down(self) -> bool:
        return self._retry_at is not None

    def _note_death(self) -> None:
        """Let a writer that lived for long be followed at once, and others after ever longer pauses."""
        self._pipe.close()
        self._code = self._process.wait()
        self._deaths += 1
        quick = time.monotonic() - self._started < _SHORT_LIFE
        self._pause = min(2 * self._pause, _LONGEST_PAUSE) if quick else _PAUSE
        self._retry_at = time.monotonic() + self._pause
        self._revive()

    def _revive(self) -> None:
        """Start another writer once it is time, and give it all that is to be shown."""
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._start()
            self._send(list(self._latest.values()))
            if self._closing:
                self._send("close")

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # it has died: its last words come next, then the end of the pipe
            self._pipe.send(message)

    def _hear(self) -> None:
        try:
            kind, *content = self._pipe.recv()
        except (EOFError, OSError):
            self._note_death()
            return
        if kind == "refused":
            self._refusals += content
        elif kind == "waiting":
            (self._obstacle,) = content
            if self._closing and self._obstacle:
                print(f"waiting for {printable(self._obstacle)}", file=sys.stderr, flush=True)
        elif kind == "closed":
            self.run_ids, self.seconds = content
            self._closed = True
        else:  # lost
            self._closed = True
            raise UserError(content[0])

    def _raise_refusals(self) -> None:
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            raise UserError(refusals[0])
