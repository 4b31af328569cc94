"""What searches find among the 15,625 cells of NAS-Bench-201 (CIFAR-10), whose validation accuracies are in a table.

    python benchmarks/cells.py [--strategies local evolution] [--first 100] [--seeds 50] [--minutes 60]

Each search runs as a sweep does, 300 trials in virtual time, four in flight where it learns from results. Each run is a
line of `results/cells.jsonl`; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import tables  # noqa: E402
from benchmarks.search_quality import search  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "cells.jsonl"
TRIALS = 300
AT = (100, 300)


def main() -> None:
    """Run what is missing, one after another, then print the table of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", default=["local", "reinforce", "evolution", "tpe", "gp", "random"])
    parser.add_argument("--first", type=int, default=100, help="seed")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=60.0, help="start nothing after so many")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    done = {(run["strategy"], run["seed"]) for run in runs()}
    for strategy in args.strategies:
        for seed in range(args.first, args.first + args.seeds):
            if (strategy, seed) not in done and time.monotonic() < end:
                best = best_after(strategy, seed)
                with RESULTS.open("a", encoding="utf-8") as file:
                    print(json.dumps({"strategy": strategy, "seed": seed, "best": best}), file=file)
    print(table())


def best_after(strategy: str, seed: int) -> list[float]:
    """The best validation accuracy in percent after each number of trials."""
    task = tables.load("nasbench201/cifar10")
    meter = tables.Meter(task, TRIALS * task.epochs)
    search(strategy, task, seed, meter, TRIALS)
    return [max(value for spent, value in meter.steps if spent <= count * task.epochs) for count in AT]


def runs() -> list[dict[str, Any]]:
    """The runs that have been made."""
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.exists() else []


def table() -> str:
    """A line a strategy: mean and deviation over seeds after each number of trials, and who has the optimum at last."""
    optimum = tables.load("nasbench201/cifar10").best
    lines = [
        f"| | seeds | {' | '.join(f'{count} trials' for count in AT)} | the optimum, {optimum:.3f} |",
        "|---|---|---|---|---|",
    ]
    by_strategy: dict[str, list[list[float]]] = {}
    for run in runs():
        by_strategy.setdefault(run["strategy"], []).append(run["best"])
    for strategy, found in by_strategy.items():
        cells = [f"{fmean(values):.3f} ± {stdev(values):.3f}" for values in zip(*found, strict=True)]
        optimal = sum(best[-1] == optimum for best in found)
        lines.append(f"| `{strategy}` | {len(found)} | {' | '.join(cells)} | {optimal} of {len(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
