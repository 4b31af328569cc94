"""Population-based training against random search at equal epochs, and how well its schedule does again with fresh seeds.

python benchmarks/pbt.py [--seeds 10 --members 16 --epochs 20 --replays 5] [key=value ...]

Whole sweeps as a person starts them, in a folder of its own; words such as search.interval=4 go to `search=pbt`. The best
of a search is the best on the validation rows by luck as well, which no schedule can repeat: so the nets are also asked for
the test rows, by which nothing was chosen.
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
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Print a table of validation accuracies, one row a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"seeds": 10, "members": 16, "epochs": 20, "replays": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args, words = parser.parse_known_args()
    columns = ["random", "pbt", "random again", "pbt again", "best of pbt again", "pbt, test", "pbt again, test"]
    columns.append("parts of its schedule")
    print(f"| seed | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        run(folder, "prepare", "data=digits")
        rows = [row(folder, args, seed, words) for seed in range(args.seeds)]
    means = [mean(column) for column in zip(*rows, strict=True)]
    print("| mean | " + " | ".join(f"{value:.4f}" for value in means[:-1]) + f" | {means[-1]:.1f} |")
    for title, one, other in (
        ("pbt − random", 1, 0),
        ("pbt again − random again", 3, 2),
        ("pbt again − pbt", 3, 1),
        ("on test rows", 6, 5),
    ):
        gaps = [row[one] - row[other] for row in rows]
        print(f"\n{title}: {mean(gaps):+.4f} ± {stdev(gaps) / len(gaps) ** 0.5:.4f} (standard error of the mean)")


def row(folder: Path, args: argparse.Namespace, seed: int, words: list[str]) -> list[float]:
    """The best of each search, the mean over fresh seeds of what each found, the best of these, the schedule's length."""
    setting = ["model=mlp", "optimizer=adamw", f"epochs={args.epochs}", f"seed={seed}"]
    found, again, tested = [], [], []
    for search in (["search=random", "search.pruner=none"], ["search=pbt", *words]):
        run(folder, "sweep", *setting, f"n_trials={args.members}", *search)
        found.append(json.loads((folder / "outputs/sweep/mlp/summary.json").read_text()))
        tested.append(accuracies(folder)[0])
    for summary in found:
        run(folder, "sweep", *setting, "search=replay", f"replay.study={summary['study']}", f"n_trials={args.replays}")
        with (folder / "outputs/sweep/mlp/trials.csv").open() as file:
            trials = list(csv.DictReader(file))
        again.append([float(trial["value"]) for trial in trials if trial["state"] == "complete"])
    values = [*(summary["best_value"] for summary in found), *map(mean, again), max(again[1])]
    values += [tested[1], mean(accuracies(folder))]
    parts = len(trials) / args.replays
    print(f"| {seed} | " + " | ".join(f"{value:.4f}" for value in values) + f" | {parts:.0f} |", flush=True)
    return [*values, parts]


def accuracies(folder: Path) -> list[float]:
    """Of the complete trials on the test rows, the best trial first."""
    import numpy as np
    import torch
    from safetensors.torch import load_file

    from src.data.dataset import load, load_test
    from src.models.building import build

    data = folder / "data" / "prepared" / "digits"
    meta, (x_test, y_test), found = load(data).meta, load_test(data), []
    for trial in json.loads((folder / "outputs/sweep/mlp/ranking.json").read_text()):
        net = build(trial["config"]["model"], meta)
        net.load_state_dict(load_file(folder / "outputs/sweep/mlp/weights" / trial["weights"][0]))
        with torch.no_grad():
            found.append(float((net.eval()(torch.from_numpy(x_test)).argmax(1).numpy() == np.asarray(y_test)).mean()))
    return found


def run(folder: Path, verb: str, *words: str) -> None:
    """A stage in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"src.{verb}", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


if __name__ == "__main__":
    main()
