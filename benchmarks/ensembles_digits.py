"""Ensembles on digits: the chosen one against the best single model, over splits of the data.

    python benchmarks/ensembles_digits.py [--splits 5] [--folder .bench/ensembles_digits] [key=value ...]

Every split is the whole pipeline in a folder of its own, verb by verb with default budgets; words after the options go to
`src.sweep`, `src.train` and `src.ensemble` alike. What a folder has already (a finished sweep) is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
MODELS = ("mlp", "cnn")
COLUMNS = ("test accuracy", "single", "test NLL", "single NLL", "chosen", "best single model")


def main() -> None:
    """Run what is missing and write the table to benchmarks/results/ensembles_digits.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench" / "ensembles_digits")
    parser.add_argument("words", nargs="*", help="overrides, such as members=[seeds,bagging]")
    args = parser.parse_args()
    found = [run(args.folder / f"split-{seed}", seed, args.words) for seed in range(args.splits)]
    table = report(found, args.words)
    print(table)
    (ROOT / "benchmarks" / "results" / "ensembles_digits.md").write_text(table)


def run(folder: Path, seed: int, words: list[str]) -> dict[str, Any]:
    """The metrics of one split."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    verb(folder, "prepare", f"data.seed={seed}")
    for model in MODELS:
        verb(folder, "sweep", f"model={model}", *words)
        verb(folder, "train", f"model={model}", *words)
    verb(folder, "ensemble", *words)
    return dict(json.loads((folder / "metrics.json").read_text()))


def verb(folder: Path, name: str, *words: str) -> None:
    command = [sys.executable, "-m", f"src.{name}", "data=digits", *words]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def report(found: list[dict[str, Any]], words: list[str]) -> str:
    """A line a split, and the means with their standard errors."""
    numbers = np.array(
        [[m[part]["test"][key] for key in ("accuracy", "nll") for part in ("it", "best_single")]
         for m in ({"it": m, "best_single": m["best_single"]} for m in found)]
    )  # fmt: skip
    lines = [
        [str(seed), *(f"{value:.4f}" for value in row), m["chosen"], m["best_single"]["name"]]
        for seed, (row, m) in enumerate(zip(numbers, found, strict=True))
    ]
    error = numbers.std(0, ddof=1) / len(numbers) ** 0.5 if len(numbers) > 1 else np.zeros(4)
    lines.append(["mean", *(f"{m:.4f} ± {e:.4f}" for m, e in zip(numbers.mean(0), error, strict=True)), "", ""])
    rows = [["split", *COLUMNS], ["---"] * (len(COLUMNS) + 1), *lines]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"# Ensembles on digits\n\n`python benchmarks/ensembles_digits.py {' '.join(words)}`\n\n{body}\n"


if __name__ == "__main__":
    main()
