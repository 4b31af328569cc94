"""Sweeps as a person starts them: processes in a folder of their own, with the database they leave."""

import csv
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support import warm

ROOT = Path(__file__).parents[2]


Process = subprocess.Popen[str]
STARTED: list[Process] = []


class Place:
    """A working folder with prepared digits and an empty database of MLflow's, which takes it a second to make.

    `cold`: each verb is a new Python, which imports all anew.
    """

    def __init__(self, folder: Path, prepared: Path | None = None, root: Path = ROOT, cold: bool = False) -> None:
        self.folder, self.root, self.cold = folder, root, cold
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "params.yaml", folder)
        if prepared:
            (folder / "data").mkdir(exist_ok=True)
            (folder / "data" / "prepared").symlink_to(prepared)
            if (database := prepared.parents[1] / "mlflow.db").exists():
                shutil.copy(database, folder)

    def start(self, *words: str, verb: str = "sweep", first_path: Path | None = None) -> Process:
        """In a process group of its own, so that all of it can be killed at once."""
        paths = [str(path) for path in (first_path, self.root) if path]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "300"}
        start = subprocess.Popen if self.cold or self.root != ROOT else warm.Popen
        process = start(
            [sys.executable, "-m", f"src.{verb}", *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        STARTED.append(process)
        return process

    def run(self, *words: str, ok: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=300)
        assert (process.returncode == 0) == ok, out + err
        return subprocess.CompletedProcess(words, process.wait(), out, err)

    # --- what it leaves -----------------------------------------------------------------------------------------------

    @property
    def out(self) -> Path:
        return self.folder / "outputs" / "sweep" / "mlp"

    @property
    def trials(self) -> str:
        return (self.out / "trials.csv").read_text()

    def rows(self, name: str = "trials") -> list[dict[str, str]]:
        with (self.out / f"{name}.csv").open() as file:
            return list(csv.DictReader(file))

    @property
    def studies(self) -> list[Path]:
        return sorted((self.folder / ".lockstep" / "studies").glob("*"))

    def events(self) -> int:
        """Results that the newest study has acknowledged so far."""
        journals = [path / "journal.log" for path in self.studies]
        return max((path.read_bytes().count(b'"report":') for path in journals if path.exists()), default=0)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(
            sqlite3.connect(f"{(self.folder / 'mlflow.db').as_uri()}?mode=ro", uri=True, timeout=30)
        ) as database:
            return database.execute(sql).fetchall()


def end_all() -> None:
    """No test leaves a process behind."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            kill(process)
        for pipe in (process.stdout, process.stderr):
            assert pipe
            pipe.close()


def kill(process: Process) -> None:
    """SIGKILL to the sweep and its workers, as when the machine goes down."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(true: Any, process: Process, seconds: float = 120.0) -> bool:
    """Whether it came true before the process ended."""
    end = time.monotonic() + seconds
    while not true():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
    return True


def alive(group: int) -> list[str]:
    """The processes of a group that are no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append((stat.parent / "cmdline").read_text())
    return found
