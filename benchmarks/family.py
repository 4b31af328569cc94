"""The processes of a command that runs: whom to kill, and who is left: `benchmarks/kills.py`."""

import os
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil


def kill(draw: random.Random, victim: str, process: subprocess.Popen[str], frozen: int | None) -> bool:
    """Kill the victim, and let the process at the boundary go on; False if there is none just now."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        pids = _pids(draw, victim, process.pid, family, frozen)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if frozen is not None:
            with suppress(ProcessLookupError):
                os.kill(frozen, signal.SIGCONT)
        return bool(pids)
    return False


def _pids(draw: random.Random, victim: str, driver: int, family: list[psutil.Process], frozen: int | None) -> list[int]:
    """Whom to kill. Under `dvc repro` the driver is the stage that runs."""
    command = {}
    for member in family:
        with suppress(psutil.NoSuchProcess):
            command[member.pid] = " ".join(member.cmdline())
    parent = {member.pid: member.ppid() for member in family if member.pid in command}
    servers = [pid for pid, words in command.items() if "forkserver" in words and parent[pid] not in command | {}]
    servers = servers or [
        p for p, words in command.items() if "forkserver" in words and "forkserver" not in command[parent[p]]
    ]
    workers = [pid for pid in command if parent[pid] in servers]
    writers = [pid for pid, words in command.items() if "tracking.writer" in words]
    if victim == "all":
        return [driver, *command]
    if victim == "group":
        return [pid for pid in (driver, *command) if pid not in writers]
    if victim in ("driver", "dvc"):
        stages = [
            pid for pid, words in command.items() if "src." in words and pid not in (*servers, *workers, *writers)
        ]
        return [driver] if victim == "dvc" or not stages else stages[-1:]
    choice = {"worker": workers, "forkserver": servers, "writer": writers}[victim]
    return [frozen] if frozen is not None and frozen in choice else [draw.choice(choice)] if choice else []


def marked(mark: str) -> list[str]:
    """List the processes whose environment has this mark and that are no zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (path / "environ").read_bytes():
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(f"{path.name} {(path / 'cmdline').read_text().replace(chr(0), ' ')[:150]}")
    return found
