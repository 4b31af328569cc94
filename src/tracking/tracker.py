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
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from src.system.errors import UserError
from src.tracking.record import RunRecord, for_writer
from src.tracking.uri import absolute, artifacts

_GRACE = 3.0  # seconds that a stopped sweep waits for its writer to make RUNNING runs KILLED
_CALM = {  # the writer's, where the user's environment says nothing else
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # it retries itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class Tracker:
    """Makes MLflow show records, in a process apart, and never makes the training wait.

    Leaving the context writes all that is pending, unless an exception passes. Runs that are RUNNING when the context
    is left or this process dies become KILLED.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._address = (absolute(uri), experiment, Path(sys.argv[0]).name, artifacts(uri))
        self._latest: dict[tuple[str, str], RunRecord] = {}
        self._refusals: list[str] = []
        self._starts = 0
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
        while self._pipe.poll():
            self._hear()
        self._raise_refusals()
        self._send(batch)

    def close(self) -> dict[str, str]:
        """Wait until all is written, for up to 90 s while MLflow is away; return the run ids by key.

        Raises UserError where something could not be written. The study has it: the next start brings MLflow level.
        """
        try:
            self._closing = True
            if not self._closed:
                self._send("close")
            while not self._closed:
                self._hear()
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
        self._starts += 1
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

    def _restart(self) -> None:
        self._pipe.close()
        code = self._process.wait()
        if self._starts == 3:
            self._closed = True
            raise UserError(
                f"The MLflow writer died three times, at last with exit code {code}: see its message above."
            )
        self._start()
        self._send(list(self._latest.values()))
        if self._closing:
            self._send("close")

    def _send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            self._hear()  # its last words, or the end of the pipe and a new writer
            self._send(message)

    def _hear(self) -> None:
        try:
            kind, *content = self._pipe.recv()
        except (EOFError, OSError):
            self._restart()
            return
        if kind == "refused":
            self._refusals += content
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
