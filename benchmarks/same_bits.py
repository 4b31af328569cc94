"""Whether every strategy comes to the same trial table with 1, 2 and 4 workers, and with workers that are killed.

    python benchmarks/same_bits.py [--searches asha tpe] [--trials 60] [--epochs 9]

Whole sweeps on digits as a person starts them, each in a folder of its own. In the last run a worker chosen at random is
killed (SIGKILL) every few seconds (--kill-every; 0: no such run). The tables are compared byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
RUNS = {
    "1 worker": (1, False),
    "2 workers": (2, False),
    "4 workers": (4, False),
    "2 workers of which one is killed": (2, True),
}
OWN = {  # what a strategy cannot do without
    "grid": ["+space.optimizer.lr.points=5", "optimizer.weight_decay=0.01", "model.dropout=0.1"],
    "nsga2": ["objective.minimize=[val/error,parameters]"],
}
SKIPPED = {"replay"}  # needs a study of pbt


def main() -> None:
    """Print a row for each strategy, and fail if any of them has two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in (ROOT / "conf" / "search").glob("*.yaml"))
    parser.add_argument("--searches", nargs="+", default=[name for name in names if name not in SKIPPED])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--kill-every", type=float, default=1.0, help="seconds")
    args = parser.parse_args()
    runs = {name: run for name, run in RUNS.items() if args.kill_every or not run[1]}
    lines, same = [], True
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        _stage(prepared, "prepare", "data=digits")
        for search in args.searches:
            words = [f"search={search}", f"n_trials={args.trials}", f"epochs={args.epochs}", *OWN.get(search, [])]
            found = {
                name: _table(Path(folder) / name, prepared, words, *run, args.kill_every) for name, run in runs.items()
            }
            digests = {hashlib.sha256(table).hexdigest()[:12] for table, _ in found.values()}
            same = same and len(digests) == 1
            kills = sum(count for _, count in found.values())
            rows = found["1 worker"][0].count(b"\n") - 1
            verdict = "the same" if len(digests) == 1 else "NOT the same"
            lines.append(f"| {search} | {rows} | {kills} | {verdict} | {' '.join(sorted(digests))} |")
            print(lines[-1], flush=True)
    head = ["| search | trials | kills | table | SHA-256 |", "| --- | ---: | ---: | --- | --- |"]
    every = f" every {args.kill_every:g} s" if args.kill_every else ""
    about = f"{args.trials} trials of up to {args.epochs} epochs on digits: {', '.join(runs)}{every}."
    page = "\n".join(["# The same bits", "", about, "", *head, *lines, ""])
    (ROOT / "benchmarks" / "results" / "same_bits.md").write_text(page)
    sys.exit(not same)


def _stage(folder: Path, verb: str, *words: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    subprocess.run([sys.executable, "-m", f"src.{verb}", *words], cwd=folder, env=_environment(), check=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _table(
    folder: Path, prepared: Path, words: list[str], workers: int, killed: bool, every: float
) -> tuple[bytes, int]:
    """The trial table of a sweep, and how many of its workers were killed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared, folder)
    command = [sys.executable, "-m", "src.sweep", f"workers={workers}", *words]
    process = subprocess.Popen(command, cwd=folder, env=_environment(), stderr=subprocess.PIPE, text=True)
    kills = 0
    while killed and process.poll() is None:
        time.sleep(every)
        kills += _kill_one(process.pid)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: {errors}")
    return (folder / "outputs" / "sweep" / "mlp" / "trials.csv").read_bytes(), kills


def _kill_one(pid: int) -> int:
    """Kill a random worker: a child of the fork server."""
    try:
        servers = [p for p in psutil.Process(pid).children() if "forkserver" in " ".join(p.cmdline())]
        workers = [worker for server in servers for worker in server.children()]
        if workers:
            os.kill(random.choice(workers).pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return 0
    return bool(workers)


if __name__ == "__main__":
    main()
