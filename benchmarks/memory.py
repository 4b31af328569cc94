"""Peak memory of whole process trees: `prepare` of Fashion-MNIST, a sweep on digits, a sweep on Fashion-MNIST.

    LOCKSTEP_DATA=/path/to/data python benchmarks/memory.py [--cases prepare digits fashion_mnist]

RSS counts a page once in every process that maps it; PSS shares it out among them, so that its sum is what the machine
has to have. Both are sampled; the peak between two samples is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
EVERY = 0.05  # seconds
MIB = 1 << 20

PREPARE = {name: ["src.prepare", f"data={name}"] for name in ("digits", "fashion_mnist")}
SWEEP = ["src.sweep", "search=random", "search.pruner=none", "n_trials=16"]
CASES = {  # what comes first, and what is measured
    "prepare": (None, PREPARE["fashion_mnist"]),
    "digits": (PREPARE["digits"], [*SWEEP, "data=digits", "epochs=20"]),
    "fashion_mnist": (PREPARE["fashion_mnist"], [*SWEEP, "data=fashion_mnist", "epochs=1"]),
}


def peak(command: list[str], folder: Path) -> dict[str, float]:
    """Run a stage in `folder`: MiB of RSS and PSS at their peaks, the number of processes then, and wall seconds."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=log, stderr=log
        )
        most = {"rss_mib": 0.0, "pss_mib": 0.0, "processes": 0.0}
        while process.poll() is None:
            rss, pss, count = tree(process.pid)
            most["rss_mib"] = max(most["rss_mib"], rss)
            if pss > most["pss_mib"]:
                most |= {"pss_mib": pss, "processes": count}
            time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'log').read_text()}")
    return {**most, "wall_s": time.perf_counter() - began}


def tree(pid: int) -> tuple[float, float, int]:
    """MiB of RSS and PSS of a process and all below it, and how many they are."""
    rss, pss, count = 0.0, 0.0, 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0, 0.0, 0
    for process in processes:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it is gone
            continue
        rss, pss, count = rss + memory.rss / MIB, pss + memory.pss / MIB, count + 1
    return rss, pss, count


def measure(name: str) -> dict[str, float]:
    """In a fresh folder."""
    first, command = CASES[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(ROOT / "params.yaml", folder)
        if first:
            peak(first, folder)
        return peak(command, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=RESULTS, help="where memory.json and memory.md go")
    args = parser.parse_args()
    results = {name: measure(name) for name in args.cases}
    rows = ["| stage | peak PSS | peak RSS | processes | wall |", "|---|---|---|---|---|"]
    for name, found in results.items():
        cells = [f"{found['pss_mib']:.0f} MiB", f"{found['rss_mib']:.0f} MiB", f"{found['processes']:.0f}"]
        rows.append(f"| `{' '.join(CASES[name][1])}` | {' | '.join(cells)} | {found['wall_s']:.1f} s |")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "memory.json").write_text(json.dumps(results, indent=2) + "\n")
    (args.out / "memory.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
