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
    columns = ["random", "pbt", f"replayed ({args.replays} seeds)", "parts of the schedule"]
    print(f"| seed | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        run(folder, "prepare", "data=digits")
        rows = [row(folder, args, seed, words) for seed in range(args.seeds)]
    values = list(zip(*rows, strict=True))
    print("| mean | " + " | ".join(f"{mean(column):.4f}" for column in values[:3]) + f" | {mean(values[3]):.1f} |")
    for title, one, other in (("pbt − random", 1, 0), ("replayed − pbt", 2, 1)):
        gaps = [row[one] - row[other] for row in rows]
        print(f"\n{title}: {mean(gaps):+.4f} ± {stdev(gaps) / len(gaps) ** 0.5:.4f} (standard error of the mean)")


def row(folder: Path, args: argparse.Namespace, seed: int, words: list[str]) -> tuple[float, float, float, int]:
    """The best of random search, of PBT, the mean of the replays, and how often the best lineage changed."""
    setting = ["model=mlp", "optimizer=adamw", f"epochs={args.epochs}", f"seed={seed}"]
    found = []
    for search in (["search=random", "search.pruner=none"], ["search=pbt", *words]):
        run(folder, "sweep", *setting, f"n_trials={args.members}", *search)
        found.append(json.loads((folder / "outputs/sweep/mlp/summary.json").read_text()))
    schedule = folder / "outputs/sweep/mlp/schedule.json"
    parts = len(json.loads(schedule.read_text())) if schedule.exists() else 1
    replay = ["search=replay", f"replay.study={found[1]['study']}", f"n_trials={args.replays}"]
    run(folder, "sweep", *setting, *replay)
    with (folder / "outputs/sweep/mlp/trials.csv").open() as file:
        again = mean(float(trial["value"]) for trial in csv.DictReader(file) if trial["state"] == "complete")
    random, pbt = (summary["best_value"] for summary in found)
    print(f"| {seed} | {random:.4f} | {pbt:.4f} | {again:.4f} | {parts} |", flush=True)
    return random, pbt, again, parts


def run(folder: Path, verb: str, *words: str) -> None:
    """A stage in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"src.{verb}", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


if __name__ == "__main__":
    main()
