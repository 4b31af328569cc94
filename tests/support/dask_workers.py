"""A scheduler of Dask and workers on loopback: processes of their own, each in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import warm
from tests.support.running import ROOT


class Scheduler:
    """It may be killed and started again at the same address; so may workers, which know it by its file."""

    def __init__(self, folder: Path, hidden: Path | None = None) -> None:
        self.folder, self.workers = folder, list[subprocess.Popen[str]]()
        self.frozen: list[int] = []
        self.hidden = hidden  # a folder over which workers see an empty one mounted, where this process may do that
        self.file = folder / "scheduler.json"
        self.port = "0"
        self.start()

    def start(self) -> None:
        self.file.unlink(missing_ok=True)
        options = ["--host", "127.0.0.1", "--port", self.port, "--no-dashboard", "--scheduler-file", str(self.file)]
        self.process = self._popen("dask_scheduler", options, self.folder)
        while not self.file.exists():
            assert self.process.poll() is None
            time.sleep(0.05)
        self.address: str = json.loads(self.file.read_text())["address"]
        self.port = self.address.rpartition(":")[2]

    def add_worker(self) -> subprocess.Popen[str]:
        """One thread, and neither the folder of the driver nor its cache."""
        folder = self.folder / f"worker{len(self.workers)}"
        (folder / "home").mkdir(parents=True)
        options = [self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder)]
        worker = self._popen("dask_worker", options, folder / "home", LOCKSTEP_CACHE=str(folder / "cache"))
        self.workers.append(worker)
        return worker

    def freeze(self, number: int) -> None:
        """Stop a worker and the processes that train for it, as if its machine hung."""
        family = [self.workers[number].pid]
        for pid in family:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                family += map(int, (thread / "children").read_text().split())
            os.kill(pid, signal.SIGSTOP)
        self.frozen += family[1:]

    def stop(self) -> None:
        for pid in self.frozen:  # which do not see that their parent ends
            os.kill(pid, signal.SIGKILL)
        for process in (*self.workers, self.process):
            process.kill()
            process.wait()

    def _popen(self, program: str, options: list[str], folder: Path, **more: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), **more}
        command = [sys.executable, "-m", f"distributed.cli.{program}", *options]
        if program == "dask_worker" and self.hidden and may_mount():
            script = f'mount -t tmpfs none {self.hidden} && cd {folder} && exec "$@"'
            command = ["unshare", "-m", "sh", "-c", script, "sh", *command]
        with (self.folder / f"{program}.log").open("a") as log:
            return warm.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, text=True)


def may_mount() -> bool:
    """Whether this process may mount folders of its own."""
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return done.returncode == 0


@contextmanager
def scheduler(folder: Path, workers: int, hidden: Path | None = None) -> Iterator[Scheduler]:
    """Start a scheduler with workers, and end them all."""
    folder.mkdir(parents=True, exist_ok=True)
    here = Scheduler(folder, hidden)
    try:
        for _ in range(workers):
            here.add_worker()
        yield here
    finally:
        here.stop()
