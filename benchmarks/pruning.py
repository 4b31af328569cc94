"""What `search.pruner=diagnosis` saves: the epochs until a sweep has a value that the others reach too.

    LOCKSTEP_DATA=../shared/data python benchmarks/pruning.py [--digits 6 --others 2 --trials 24]

Whole sweeps by random search, as a person starts them who does not know the rate: it is searched over five decades. For
each seed the value is the worst of the three pruners' final bests; epochs are those of all trials together.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PRUNERS = ("none", "median", "diagnosis")
WORDS = ["model=mlp", "optimizer=adamw", "schedule=constant", "search=random", "slots=4", "workers=2"]
WORDS += ["space.optimizer.lr.low=1e-5", "space.optimizer.lr.high=1.0"]
Line = list[tuple[int, float]]  # epochs spent, and the best value so far


def main() -> None:
    """Print a row a seed, and medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"digits": 6, "others": 2, "trials": 24}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    heads = [f"{what} {pruner}" for what in ("epochs to it:", "all epochs:", "best:") for pruner in PRUNERS]
    print(f"| data, seed | value | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|", sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        for data, rows, epochs, seeds in (
            ("digits", [], 20, args.digits),
            ("adult", ["data.rows=5000"], 10, args.others),
            ("fashion_mnist", ["data.rows=5000"], 10, args.others),
        ):
            run(folder, "prepare", f"data={data}", *rows)
            found = [row(folder, data, epochs, args.trials, seed) for seed in range(seeds)]
            ratios = [[own / line[0] for own in line] for line in found]
            shares = [f"{median(column):.2f}" for column in zip(*ratios, strict=True)]
            print(f"| {data}, median of the ratios to none | | {' | '.join(shares)} | | | | | | |", flush=True)


def row(folder: Path, data: str, epochs: int, trials: int, seed: int) -> list[int]:
    """The epochs that each pruner took to the value that all have reached."""
    lines = [sweep(folder, data, epochs, trials, seed, pruner) for pruner in PRUNERS]
    value = min(line[-1][1] for line in lines)
    taken = [next(spent for spent, best in line if best >= value) for line in lines]
    cells = [*taken, *(line[-1][0] for line in lines), *(f"{line[-1][1]:.4f}" for line in lines)]
    print(f"| {data}, {seed} | {value:.4f} | {' | '.join(map(str, cells))} |", flush=True)
    return taken


def sweep(folder: Path, data: str, epochs: int, trials: int, seed: int, pruner: str) -> Line:
    words = [
        *WORDS,
        f"data={data}",
        f"epochs={epochs}",
        f"n_trials={trials}",
        f"seed={seed}",
        f"search.pruner={pruner}",
    ]
    run(folder, "sweep", *words)
    with (folder / "outputs/sweep/mlp/progress.csv").open() as file:
        rows = [(int(line["epochs"]), float(line["best"] or "-inf")) for line in csv.DictReader(file)]
    summary = json.loads((folder / "outputs/sweep/mlp/summary.json").read_text())
    assert summary["best_value"] == rows[-1][1]
    return rows


def run(folder: Path, verb: str, *words: str) -> None:
    """A stage in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"src.{verb}", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
