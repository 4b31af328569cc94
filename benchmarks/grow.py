"""Growth on digits: the net at which `search=grow` stops, beside a grid over depth and width.

    python benchmarks/grow.py [--seeds 5] [--rate 0.0058]

Both are sweeps as a person starts them, with everything fixed but depth (1 to 3) and width (8 to 128, doubling), at the
rate that `python -m src.lr_range` suggests there. The grid trains each net from scratch; its values are means over the
seeds. The smallest net needed for 99 % of the best is read off the grid by parameters.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIXED = ["model=mlp", "model.dropout=0", "batch_size=64", "optimizer.weight_decay=0.01"]
WIDTHS, DEPTHS = (8, 16, 32, 64, 128), (1, 2, 3)
WIDTH = "space.model.width={type: int, low: 8, high: 128, log: true, step: null, points: 5}"
GROW = ["search=grow", "n_trials=1", WIDTH]
GRID = ["search=grid", "n_trials=15", WIDTH]


def main() -> None:
    """Run the sweeps in a folder of their own, and print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=0.0058)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "grow")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "params.yaml", args.folder)
    run("prepare", args.folder)
    grids, rows = [], []
    for seed in range(args.seeds):
        fixed = [*FIXED, f"optimizer.lr={args.rate}", f"seed={seed}"]
        run("sweep", args.folder, *fixed, *GRID, "outputs=grid")
        grids.append({net(row): float(row["value"]) for row in trials(args.folder / "grid")})
        run("sweep", args.folder, *fixed, *GROW, "outputs=grown")
        grown = trials(args.folder / "grown")
        best = max(grown, key=lambda row: float(row["value"]))
        rows.append((seed, net(best), float(best["value"]), len(grown)))
    means = {place: statistics.mean(grid[place] for grid in grids) for place in grids[0]}
    print("| depth | " + " | ".join(map(str, WIDTHS)) + " |")
    for depth in DEPTHS:
        print(f"| {depth} | " + " | ".join(f"{means[depth, width]:.4f}" for width in WIDTHS) + " |")
    enough = [place for place, value in means.items() if value >= 0.99 * max(means.values())]
    needed = min(enough, key=parameters)
    print(f"best {max(means.values()):.4f}; needed for 99 %: {needed}, {parameters(needed)} parameters")
    for seed, place, value, count in rows:
        print(f"| {seed} | {place[0]} × {place[1]} | {parameters(place)} | {value:.4f} | {count} |")


def run(verb: str, folder: Path, *words: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", f"src.{verb}", *words], cwd=folder, env=environment, check=True)


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep" / "mlp" / "trials.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["state"] == "complete"]


def net(row: dict[str, str]) -> tuple[int, int]:
    return int(row["params.model.depth"]), int(row["params.model.width"])


def parameters(place: tuple[int, int]) -> int:
    """Of an mlp on digits: 64 inputs, 10 classes."""
    depth, width = place
    return 65 * width + (depth - 1) * (width + 1) * width + 10 * (width + 1)


if __name__ == "__main__":
    main()
