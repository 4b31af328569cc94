"""Python programs as processes that are forked from one which has imported PyTorch, MLflow and the rest, at little cost.

Each is a process of its own as `python -m src.<verb>` is, with its own session, folder, environment, pipes and exit
code, and runs the same code from its first line. What it starts in turn, the process from which workers fork and the writer
of MLflow's runs, is forked from it likewise. What a fork cannot show (imports, sites, the command line of a process) is
shown by the tests that start programs cold: those of processes, of other trees of code, and whatever DVC starts.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import inspect
import itertools
import multiprocessing.util
import os
import pickle
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fcntl import F_DUPFD_CLOEXEC, fcntl
from functools import cache
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any

from filelock import FileLock

from src.system.fingerprint import FINAL_MEMBER, TRIAL, code_digests

ROOT = Path(__file__).parents[2]
MODULES = (  # what programs import, by the time that it takes
    "src.population",  # first: it fixes the kernels of MKL
    "src.engine.worker",
    "torch.fx.experimental.symbolic_shapes",
    "src.config.loading",
    "src.sweeps.opening",
    "src.sweeps.exports",
    "src.data.preparing",
    "skops.io",
    "src.ensembles.evaluation",
    "src.tracking.runs",
    "mlflow.store.tracking.sqlalchemy_store",
    "src.tracking.registry",
    "src.reporting.page",
    "mlflow.cli",
    "torch.export._trace",
    "matplotlib.figure",
    "matplotlib.image",
    "distributed",
    "s3fs",
)
HASH_SEEDS = ("1", "2")  # of the servers in turn: no table may depend on the order of a set
Cold = subprocess.Popen  # in a forked process and under some fixtures, `subprocess.Popen` is the one below
FOLDERS: list[Path] = []  # where the processes of a session of tests share its servers; outside of one all is cold


class Popen(subprocess.Popen[Any]):
    """A `subprocess.Popen` that forks where the program is `[sys.executable, "-m" or "-c", …]`, in a session of its own."""

    _state: IO[str] | None = None  # where the process that forked it says how it ends

    def _execute_child(self, *words: Any, **keys: Any) -> None:
        method = super()._execute_child  # type: ignore[misc]
        given = inspect.signature(method).bind(*words, **keys).arguments
        if not _forks(given["args"]):
            method(*words, **keys)
            return
        streams = {number: given[name] for number, name in enumerate(("p2cread", "c2pwrite", "errwrite"))}
        program = _Program(
            tuple(given["args"][1:]),
            os.fspath(given["cwd"] or Path.cwd()),
            dict(os.environ if given["env"] is None else given["env"]),
            {number: number if end == -1 else end for number, end in streams.items()}
            | {end: end for end in given["pass_fds"]},
        )
        self.pid, self._state = _start(program)
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))  # type: ignore[attr-defined]

    def _wait(self, timeout: float | None) -> int | None:
        if self._state is None:
            return super()._wait(timeout)  # type: ignore[misc, no-any-return]
        if self.returncode is None and not select.select([self._state], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                with self._state:
                    self.returncode = int(self._state.readline())
        return self.returncode

    def _internal_poll(self, *words: Any, **keys: Any) -> int | None:
        if self._state is None:
            return super()._internal_poll(*words, **keys)  # type: ignore[misc, no-any-return]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._wait(0.0)
        return self.returncode


def run(folder: Path, verb: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in a folder to its end, with so much more in its environment."""
    command = [sys.executable, "-m", f"src.{verb}", *words]
    more = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    with Popen(command, cwd=folder, env=more, stdout=PIPE, stderr=PIPE, text=True) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(command, process.wait(), out, err)


@dataclass(frozen=True)
class _Program:
    """What Python is started with: its arguments, folder, environment, and files by the number that they have there."""

    words: tuple[str, ...]
    folder: str
    environment: dict[str, str]
    files: dict[int, int]

    def take_over(self, files: dict[int, int]) -> None:
        """Give this process what it would have if it was started so: these files, and no other."""
        free = max(files) + 1
        copies = {number: fcntl(end, F_DUPFD_CLOEXEC, free) for number, end in files.items()}
        for number, copy in copies.items():
            os.dup2(copy, number)
        for last, following in itertools.pairwise([*sorted(files), os.sysconf("SC_OPEN_MAX")]):
            os.closerange(last + 1, following)
        os.setsid()
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        paths = [path for path in self.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.path[:] = [self.folder, *paths, *(path for path in sys.path if path not in ("", str(ROOT)))]
        importlib.invalidate_caches()

    def run(self) -> None:
        """Run the module or the code as the main program."""
        kind, what, *words = self.words
        sys.argv[:] = [kind, *words]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(what, main.__dict__)


def _is_python(args: Any) -> bool:
    return not isinstance(args, str) and list(args[:1]) == [sys.executable] and args[1] in ("-m", "-c")


def _is_writer(args: Any) -> bool:
    return _is_python(args) and "src.tracking.writer" in args[2]


def _is_python_in_tests(args: Any) -> bool:
    return bool(FOLDERS) and _is_python(args)


_forks = _is_python_in_tests

# --- in the tests ----------------------------------------------------------------------------------------------------


_turns = itertools.count()


def _start(program: _Program) -> tuple[int, IO[str] | None]:
    """Have a program forked by the servers in turn; return its number, and where its exit code is said."""
    control, lock = _server(next(_turns) % len(HASH_SEEDS))
    state, theirs = os.pipe()
    with lock:
        socket.send_fds(control, [pickle.dumps(program)], [theirs, *program.files.values()])
    os.close(theirs)
    said = os.fdopen(state, encoding="utf-8")
    return int(said.readline()), said


@cache
def _server(turn: int) -> tuple[socket.socket, threading.Lock]:
    """Connect to a server, and start it where no other process of this session has; it ends with the last of them."""
    path = FOLDERS[-1] / f"warm{turn}"
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with FileLock(path.with_suffix(".lock")):
        try:
            control.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(str(path))
                listener.listen()
                control.connect(str(path))
                fixed = {"PYTHONHASHSEED": HASH_SEEDS[turn], "MLFLOW_DISABLE_TELEMETRY": "true"}
                process = Cold(
                    [sys.executable, "-m", "tests.support.warm", str(listener.fileno())],
                    cwd=ROOT,
                    env=os.environ | fixed,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
                process.returncode = 0  # it may outlive this process, which does not wait for it
    atexit.register(control.close)
    return control, threading.Lock()


# --- the server ------------------------------------------------------------------------------------------------------


def _serve(listener: socket.socket) -> _Program:
    """Fork a process for each message until the tests end; return the program in that process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in MODULES:
            importlib.import_module(name)
    code_digests(ROOT / "src", (*TRIAL, *FINAL_MEMBER))
    assert threading.active_count() == 1, "only then a fork is whole"
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    clients = [listener.accept()[0]]
    while clients:
        for ready in select.select([listener, *clients], [], [])[0]:
            if ready is listener:
                clients.append(listener.accept()[0])
                continue
            message, ends, *_ = socket.recv_fds(ready, 1 << 20, 250)
            if not message:
                clients.remove(ready)
                ready.close()
            elif not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return _keep(pickle.loads(message), *ends)
            for end in ends:
                os.close(end)
    os._exit(0)


def _keep(program: _Program, state: int, *ends: int) -> _Program:
    """Fork a program and say its number and its exit code; return in that process alone."""
    if pid := os.fork():
        os.closerange(0, state)
        os.closerange(state + 1, os.sysconf("SC_OPEN_MAX"))
        os.write(state, f"{pid}\n".encode())
        os.write(state, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
        os._exit(0)
    program.take_over(dict(zip(program.files, ends, strict=True)))
    return program


# --- what a program starts -------------------------------------------------------------------------------------------


def _fork(program: _Program) -> tuple[int, None]:
    """Fork a program from this process."""

    def act() -> None:
        program.take_over(program.files)
        program.run()

    return _forked(act), None


def _forked(act: Callable[[], object]) -> int:
    """Fork a process that acts, and ends."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if pid := os.fork():
        return pid
    code = _acted(act)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _acted(act: Callable[[], object]) -> int:
    """Act as a new process would, with default signals, and return the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        act()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _spawn(path: str, args: Sequence[Any], inherited: Sequence[int]) -> int:
    """Start the server from which workers fork, or the tracker of resources, as `multiprocessing.util` does."""
    code = os.fsdecode(args[-1])

    def act() -> None:
        for last, following in itertools.pairwise([2, *sorted(inherited), os.sysconf("SC_OPEN_MAX")]):
            os.closerange(last + 1, following)
        exec(code, {"__name__": "__main__"})

    return _forked(act)


if __name__ == "__main__":
    program = _serve(socket.socket(fileno=int(sys.argv[1])))
    _start, _forks = _fork, _is_writer
    subprocess.Popen = Popen  # type: ignore[misc]
    multiprocessing.util.spawnv_passfds = _spawn  # type: ignore[assignment]
    program.run()
