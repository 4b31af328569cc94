"""Wall time of whole sweeps, Lockstep and the Optuna + MLflow peer in turns, start-up included, everything fresh.

    python benchmarks/speed.py --cases full fixed --repetitions 5

Turns, so that a machine that grows slower wears both out alike. Besides the wall clock each run has the processor time
of all its processes, which others on the machine disturb much less, and what these others took meanwhile.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: grandchildren whose parent is gone become ours, and their time is counted


@dataclass(frozen=True)
class Case:
    """The same sweep in the words of both."""

    title: str
    trials: int
    ours: list[str]
    peer: list[str]


CASES = {
    "full": Case(
        "64 trials, full space, TPE, no pruning",
        64,
        ["experiment=anchors", "search.pruner=none"],
        ["--sampler=tpe", "--pruner=none"],
    ),
    "asha": Case(
        "64 trials, full space, TPE, ASHA",
        64,
        ["experiment=anchors", "search.pruner=asha"],
        ["--sampler=tpe", "--pruner=asha"],
    ),
    "hyperband": Case(
        "64 trials, full space, TPE, ASHA against Hyperband",
        64,
        ["experiment=anchors", "search.pruner=asha"],
        ["--sampler=tpe", "--pruner=hyperband"],
    ),
    "fixed": Case(
        "256 trials, fixed 64-64 net, batch 32, random",
        256,
        ["experiment=fixed_net"],
        ["--sampler=random", "--pruner=none", "--fixed-net"],
    ),
    "random": Case(
        "256 trials, full space, random",
        256,
        ["experiment=anchors", "search=random"],
        ["--sampler=random", "--pruner=none"],
    ),
}


@dataclass(frozen=True)
class Run:
    """One sweep: wall seconds, processor seconds of all its processes, cores that others kept busy, best accuracy."""

    wall_s: float
    cpu_s: float
    others: float
    best: float


def ours(case: Case, folder: Path) -> list[str]:
    """Lockstep's command."""
    places = [f"study.root={folder}/study", f"tracking.uri=sqlite:///{folder}/mlflow.db", f"outputs={folder}/outputs"]
    return [sys.executable, "-m", "src.sweep", *case.ours, f"n_trials={case.trials}", *places]


def peer(case: Case, folder: Path) -> list[str]:
    """The peer's command."""
    return [sys.executable, "benchmarks/peer_optuna.py", f"--folder={folder}", f"--trials={case.trials}", *case.peer]


def measure(command: list[str]) -> tuple[float, float, float, str]:
    """Run to the end: wall seconds, processor seconds, cores that others kept busy, and what it printed."""
    spent, busy, began = _children(), _busy(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
        wall, machine = time.perf_counter() - began, _busy() - busy
        if done.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{errors.read()}")
    _reap()
    cpu = _children() - spent
    return wall, cpu, max(0.0, machine - cpu) / wall, done.stdout


def _busy() -> float:
    """Seconds that the machine's processors have worked."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap() -> None:
    """Wait for processes that outlived the command, a fork server for instance."""
    while psutil.Process().children():
        try:
            os.wait()
        except ChildProcessError:
            return


def run_ours(case: Case) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, others, _ = measure(ours(case, Path(folder)))
        summary = json.loads((Path(folder) / "outputs/sweep/mlp/summary.json").read_text())
    assert summary["n_trials"] == case.trials
    return Run(wall, cpu, others, summary["best_value"])


def run_peer(case: Case) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, others, printed = measure(peer(case, Path(folder)))
    report = json.loads(printed.splitlines()[-1])
    assert report["trials"] == case.trials
    return Run(wall, cpu, others, report["best"])


def compare(case: Case, repetitions: int) -> tuple[list[Run], list[Run]]:
    """Ours, peer, ours, peer, ..."""
    mine: list[Run] = []
    theirs: list[Run] = []
    for repetition in range(repetitions):
        for runs, run in ((mine, run_ours), (theirs, run_peer)):
            runs.append(run(case))
            print(
                f"{case.title}: {run.__name__} {repetition + 1}/{repetitions} {runs[-1]}", file=sys.stderr, flush=True
            )
    return mine, theirs


def table(results: dict[str, tuple[list[Run], list[Run]]]) -> str:
    """A row a case: medians, and the ratio of each turn's two runs as median (least to most)."""
    rows = [
        "| sweep | Lockstep | peer | faster by | processor time | best, median | others' cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (mine, theirs) in results.items():
        ratios = sorted(t.wall_s / m.wall_s for m, t in zip(mine, theirs, strict=True))
        cells = [
            CASES[name].title,
            f"{_median(mine, 'wall_s'):.1f} s ({60 * CASES[name].trials / _median(mine, 'wall_s'):.0f}/min)",
            f"{_median(theirs, 'wall_s'):.1f} s ({60 * CASES[name].trials / _median(theirs, 'wall_s'):.0f}/min)",
            f"{statistics.median(ratios):.2f}× ({ratios[0]:.2f}–{ratios[-1]:.2f})",
            f"{_median(mine, 'cpu_s'):.1f} s, {_median(theirs, 'cpu_s'):.1f} s",
            f"{_median(mine, 'best'):.3f}, {_median(theirs, 'best'):.3f}",
            f"{_median(mine, 'others'):.2f}, {_median(theirs, 'others'):.2f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _median(runs: list[Run], field: str) -> float:
    return float(statistics.median(getattr(run, field) for run in runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where speed.json and speed.md go")
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    if not (ROOT / "data/prepared/digits/meta.json").exists():
        measure([sys.executable, "-m", "src.prepare", "data=digits"])

    results = {name: compare(CASES[name], args.repetitions) for name in args.cases}
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.machine(),
        "python": platform.python_version(),
    }
    runs = {n: {"ours": [asdict(r) for r in m], "peer": [asdict(r) for r in t]} for n, (m, t) in results.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "speed.json").write_text(json.dumps({"machine": machine, "runs": runs}, indent=2) + "\n")
    (args.out / "speed.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
