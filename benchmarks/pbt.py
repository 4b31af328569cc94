"""Population-based training against random search at equal epochs, and how well its schedule does again with fresh seeds.

python benchmarks/pbt.py [--seeds 10 --members 16 --epochs 20 --replays 5] [key=value ...]

Whole sweeps as a person starts them, in a folder of its own; words such as search.interval=4 go to `search=pbt`.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print a table of validation accuracies, one row a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"seeds": 10, "members": 16, "epochs": 20, "replays": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args, words = parser.parse_known_args()
    columns = ["random", "pbt", "random again", "pbt again", "best of pbt again", "parts of its schedule"]
    print(f"| seed | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        run(folder, "prepare", "data=digits")
        rows = [row(folder, args, seed, words) for seed in range(args.seeds)]
    means = [mean(column) for column in zip(*rows, strict=True)]
    print("| mean | " + " | ".join(f"{value:.4f}" for value in means[:-1]) + f" | {means[-1]:.1f} |")
    for title, one, other in (("pbt − random", 1, 0), ("pbt again − random again", 3, 2), ("pbt again − pbt", 3, 1)):
        gaps = [row[one] - row[other] for row in rows]
        print(f"\n{title}: {mean(gaps):+.4f} ± {stdev(gaps) / len(gaps) ** 0.5:.4f} (standard error of the mean)")


def row(folder: Path, args: argparse.Namespace, seed: int, words: list[str]) -> list[float]:
    """The best of each search, the mean over fresh seeds of what each found, the best of these, the schedule's length."""
    setting = ["model=mlp", "optimizer=adamw", f"epochs={args.epochs}", f"seed={seed}"]
    found, again = [], []
    for search in (["search=random", "search.pruner=none"], ["search=pbt", *words]):
        run(folder, "sweep", *setting, f"n_trials={args.members}", *search)
        found.append(json.loads((folder / "outputs/sweep/mlp/summary.json").read_text()))
    for summary in found:
        run(folder, "sweep", *setting, "search=replay", f"replay.study={summary['study']}", f"n_trials={args.replays}")
        with (folder / "outputs/sweep/mlp/trials.csv").open() as file:
            trials = list(csv.DictReader(file))
        again.append([float(trial["value"]) for trial in trials if trial["state"] == "complete"])
    values = [*(summary["best_value"] for summary in found), *map(mean, again), max(again[1])]
    parts = len(trials) / args.replays
    print(f"| {seed} | " + " | ".join(f"{value:.4f}" for value in values) + f" | {parts:.0f} |", flush=True)
    return [*values, parts]


def run(folder: Path, verb: str, *words: str) -> None:
    """A stage in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"src.{verb}", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


if __name__ == "__main__":
    main()
