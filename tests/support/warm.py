"""Verbs as processes that are forked from one which has imported PyTorch, MLflow and the rest: a start costs little.

Each is a process of its own as `python -m src.<verb>` is, with its own session, folder, environment, pipes and exit
code, and runs the same code from its first line. What it starts in turn, the process from which workers fork and the writer
of MLflow's runs, is forked from it likewise. What a fork cannot show (imports, sites, the command line of a process) is
shown by the tests that start verbs cold: those of processes, of other trees of code, and whatever DVC starts.
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
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES = (  # what a verb and its processes import, by the time that it takes
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
)
HASH_SEEDS = ("1", "2")  # of the servers in turn: no table may depend on the order of a set


class Verb:
    """A verb that runs: as much of a `subprocess.Popen` as tests use."""

    def __init__(self, verb: str, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        control, lock = _server(next(_turns) % len(HASH_SEEDS))
        out, err, state = os.pipe(), os.pipe(), os.pipe()
        message = pickle.dumps((verb, list(words), str(folder), dict(environment)))
        with lock:
            socket.send_fds(control, [message], [out[1], err[1], state[1]])
        for _, end in (out, err, state):
            os.close(end)
        self.returncode: int | None = None
        self.stdout, self.stderr = (open(end, encoding="utf-8") for end in (out[0], err[0]))  # noqa: PTH123, SIM115
        self._state = os.fdopen(state[0], encoding="utf-8")
        self.pid = int(self._state.readline())

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        if self.returncode is None:
            if not select.select([self._state], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("src", timeout or 0.0)
            with self._state:
                self.returncode = int(self._state.readline())
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read all that it prints until its end."""
        texts: dict[str, str] = {}

        def read(name: str) -> None:
            texts[name] = getattr(self, name).read()

        readers = [threading.Thread(target=read, args=[name], daemon=True) for name in ("stdout", "stderr")]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        self.stdout.close()
        self.stderr.close()
        return texts["stdout"], texts["stderr"]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def run(folder: Path, verb: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in a folder to its end, with so much more in its environment."""
    process = Verb(verb, words, folder, os.environ | {"PYTHONPATH": str(ROOT)} | environment)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(words, process.wait(), out, err)


_turns = itertools.count()


@cache
def _server(turn: int) -> tuple[socket.socket, threading.Lock]:
    """Start a server; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fixed = {"PYTHONHASHSEED": HASH_SEEDS[turn], "MLFLOW_DISABLE_TELEMETRY": "true"}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())],
            cwd=ROOT,
            env=os.environ | fixed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours, threading.Lock()


# --- the server ------------------------------------------------------------------------------------------------------


def _serve(control: socket.socket) -> str:
    """Fork a verb for each message until the tests end; return its name in the verb's process."""
    for name in MODULES:
        importlib.import_module(name)
    assert threading.active_count() == 1, "only then a fork is whole"
    gc.collect()
    gc.freeze()
    while True:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
        message, ends, *_ = socket.recv_fds(control, 1 << 20, 3)
        if not message:
            os._exit(0)
        if not os.fork():
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(*ends)
            return _become(*pickle.loads(message))
        for end in ends:
            os.close(end)


def _keep(out: int, err: int, state: int) -> None:
    """Fork the verb and say its number and its exit code; return in the verb alone."""
    if pid := os.fork():
        os.close(out)
        os.close(err)
        os.write(state, f"{pid}\n".encode())
        os.write(state, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
        os._exit(0)
    os.setsid()
    for end, number in ((out, 1), (err, 2)):
        os.dup2(end, number)
    for end in (out, err, state):
        os.close(end)


def _become(verb: str, words: Sequence[str], folder: str, environment: Mapping[str, str]) -> str:
    """Take over what else a process gets when it is started."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [folder, *paths, *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.argv[:] = ["", *words]
    importlib.invalidate_caches()
    multiprocessing.util.spawnv_passfds = _spawn  # type: ignore[assignment]
    subprocess.Popen = _Process  # type: ignore[misc]
    return f"src.{verb}"


# --- what a verb starts ----------------------------------------------------------------------------------------------


def _forked(act: Callable[[], object], inherited: Sequence[int]) -> int:
    """Fork a process that acts, and ends."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if pid := os.fork():
        return pid
    code = _acted(act, inherited)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _acted(act: Callable[[], object], inherited: Sequence[int]) -> int:
    """Act as a new process would, with default signals and no other files, and return the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ends = [2, *sorted(inherited), os.sysconf("SC_OPEN_MAX")]
    for last, following in itertools.pairwise(ends):
        os.closerange(last + 1, following)
    try:
        act()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _spawn(path: str, args: Sequence[Any], inherited: Sequence[int]) -> int:
    """Start the server from which workers fork, or the tracker of resources, as `multiprocessing.util` does."""
    code = os.fsdecode(args[-1])
    return _forked(lambda: exec(code, {"__name__": "__main__"}), inherited)


class _Process(subprocess.Popen[Any]):
    """A `subprocess.Popen` that forks where a program of ours would be run by another Python."""

    def _execute_child(self, *words: Any, **keys: Any) -> None:
        method = super()._execute_child  # type: ignore[misc]
        given = inspect.signature(method).bind(*words, **keys).arguments
        args = given["args"]
        if isinstance(args, str) or list(args[:2]) != [sys.executable, "-c"] or "src.tracking.writer" not in args[2]:
            method(*words, **keys)
            return

        def act() -> None:
            os.setsid()
            os.dup2(given["p2cread"], 0)
            os.chdir(given["cwd"])
            os.environ.clear()
            os.environ.update(given["env"])
            exec(args[2], {"__name__": "__main__"})

        self.pid = _forked(act, [*given["pass_fds"], given["p2cread"]])
        self._child_created = True
        os.close(given["p2cread"])


if __name__ == "__main__":
    name = _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(name, run_name="__main__", alter_sys=True)
