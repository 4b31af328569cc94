"""Ensembles on digits: the chosen one against the best single model, over splits of the data.

    python benchmarks/ensembles_digits.py [--seeds 0 1 2 3 4] [--folder .bench/ensembles_digits] [key=value ...]

Every split (`data.seed`) is the whole pipeline in a folder of its own, by the commands of dvc.yaml with the values of
params.yaml; words after the options go to `src.train` and `src.ensemble`, such as `members=[seeds,bagging]`. A split whose
folder has its metrics.json is not run again, and a sweep that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
STAGES = ("prepare", "lr_range", "sweep", "train", "ensemble")
COLUMNS = ("test accuracy", "single", "test NLL", "single NLL", "chosen", "best single model")


def main() -> None:
    """Run what is missing and write the table to benchmarks/results/ensembles_digits.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench" / "ensembles_digits")
    args, words = parser.parse_known_args()
    found = {seed: run(args.folder / f"split-{seed}", seed, words) for seed in args.seeds}
    table = report(found, words)
    print(table)
    (ROOT / "benchmarks" / "results" / "ensembles_digits.md").write_text(table)


def run(folder: Path, seed: int, words: list[str]) -> dict[str, Any]:
    """The metrics of one split."""
    if not (folder / "metrics.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "params.yaml", folder)
        for stage, command in commands():
            more = [f"data.seed={seed}"] * (stage == "prepare") + words * (stage in ("train", "ensemble"))
            run_in(folder, [*command, *more])
    return dict(json.loads((folder / "metrics.json").read_text()))


def commands() -> list[tuple[str, list[str]]]:
    """Those of the pipeline, each model's own in turn."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"data": "digits"}
    found = []
    for stage in STAGES:
        for model in params["models"] if "matrix" in stages[stage] else [None]:
            values = params | {"item.model": model}
            text = re.sub(r"\$\{([\w.]+)\}", lambda name, values=values: str(values[name[1]]), stages[stage]["cmd"])
            found.append((stage, shlex.split(text)))
    return found


def run_in(folder: Path, command: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command[1:]], cwd=folder, env=environment, check=True)


def report(found: dict[int, dict[str, Any]], words: list[str]) -> str:
    """A line a split, and the means with their standard errors."""
    sides = [(m, m["best_single"]) for m in found.values()]
    numbers = np.array([[side["test"][key] for key in ("accuracy", "nll") for side in pair] for pair in sides])
    lines = [
        [str(seed), *(f"{value:.4f}" for value in row), m["chosen"], m["best_single"]["name"]]
        for (seed, m), row in zip(found.items(), numbers, strict=True)
    ]
    error = numbers.std(0, ddof=1) / len(numbers) ** 0.5 if len(numbers) > 1 else np.zeros(4)
    lines.append(["mean", *(f"{m:.4f} ± {e:.4f}" for m, e in zip(numbers.mean(0), error, strict=True)), "", ""])
    rows = [["split", *COLUMNS], ["---"] * (len(COLUMNS) + 1), *lines]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    command = " ".join(["python benchmarks/ensembles_digits.py", *words])
    return f"# Ensembles on digits\n\n`{command}`\n\n{body}\n"


if __name__ == "__main__":
    main()
