"""Stops a process exactly at a commit boundary, so that `benchmarks/kills.py` can kill it, or another one, at that place.

Python imports this file at the start of each process that has its folder on the path. `LOCKSTEP_BOUNDARIES` names a folder
of messages: while `armed` lies there (`<skip> <boundary>`), the first process that comes to this boundary for the so-many-th
time writes its pid into `stopped` and stops. With a file `record` there, every boundary passed is a line in `passed`.
"""

import os
import re
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PLACES = {  # of files whose appearance, or end, means that something is done
    r"/studies/[^/]+/checkpoints/[^/]+\.safetensors$": "checkpoint",
    r"/studies/[^/]+/models/\d+$": "model of a trial",
    r"/members/[^/]+/[^/]+\.(safetensors|part)$": "checkpoint of a member",
    r"/outputs/sweep/.*[^/]$": "output of a sweep",
    r"/outputs/train/[^/]+$": "output of train",
    r"/outputs/ensemble/.*[^/]$|/metrics\.json$": "output of ensemble",
    r"/mlartifacts/.*/artifacts/model$": "artifact",
    r"/mlflow\.db$": "MLflow's database",
    r"/data/prepared/[^/]+$": "prepared data",
}
JOURNAL = re.compile(r"/studies/[^/]+/journal\.log$")
REAL = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink", "open", "write", "close")}
BOX = os.environ.get("LOCKSTEP_BOUNDARIES", "")
CONNECT = sqlite3.connect
WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")


def at(boundary: str, first: Callable[[], object] | None = None) -> None:
    """Stop here if `boundary` is armed, after doing `first`."""
    if Path(BOX, "record").exists():
        _append("passed", boundary)
    with suppress(OSError, ValueError):
        skip, armed = Path(BOX, "armed").read_text(encoding="utf-8").split(" ", 1)
        if armed != boundary or _append("hits", ".") <= int(skip):
            return
        REAL["unlink"](f"{BOX}/armed")  # of several that come here at once, one gets through
        if first:
            first()
        _append("stopped", str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)


def _append(name: str, line: str) -> int:
    """Append a line, and return how many there are if each is a single character."""
    file = REAL["open"](f"{BOX}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        REAL["write"](file, f"{line}\n".encode())
        return os.fstat(file).st_size // 2
    finally:
        REAL["close"](file)


def place(path: object) -> str:
    """The name of what stands at `path`, or ""."""
    text = os.path.abspath(os.fspath(path))  # type: ignore[call-overload]  # noqa: PTH100, any kind of path
    return next((name for pattern, name in PLACES.items() if re.search(pattern, text)), "")


def _fsync(file: Any) -> None:
    path = os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")  # noqa: PTH115
    journal = JOURNAL.search(path)
    if journal:
        at("journal: record torn", lambda: os.truncate(path, os.stat(path).st_size - 9))  # noqa: PTH116
    REAL["fsync"](file)
    if journal:
        at("journal: record written")


def _moved(name: str) -> Callable[..., None]:
    def move(source: Any, target: Any, **more: Any) -> None:
        what = "" if str(target).endswith(".old") else place(target)
        if what:
            at(f"{what}: before it is there")
        REAL[name](source, target, **more)
        if what:
            at(f"{what}: it is there")

    return move


def _unlink(path: Any, **more: Any) -> None:
    what = "" if str(path).endswith(".tmp") else place(path)
    if what:
        at(f"{what}: before it goes")
    REAL["unlink"](path, **more)
    if what:
        at(f"{what}: it has gone")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[1]).startswith("a") and JOURNAL.search(str(arguments[0])):
        at("journal: before a record")


def _connect(*arguments: Any, **more: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = CONNECT(*arguments, **more)
    written = [False]

    def statement(sql: str) -> None:
        if sql.startswith("BEGIN"):
            if written[0]:
                at("MLflow: after a transaction")
            written[0] = False
        written[0] |= sql.startswith(WRITES)
        if sql.startswith("COMMIT") and written[0]:
            at("MLflow: before a transaction counts")

    connection.set_trace_callback(statement)
    return connection


if BOX:
    for name, function in {"fsync": _fsync, "replace": _moved("replace"), "rename": _moved("rename")}.items():
        setattr(os, name, function)
    os.unlink = os.remove = _unlink
    sqlite3.connect = sqlite3.dbapi2.connect = _connect  # type: ignore[assignment]
    sys.addaudithook(_audit)
