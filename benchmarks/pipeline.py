"""The whole pipeline on a data set: what the chosen ensemble and the best single model are worth, and the minutes.

    python benchmarks/pipeline.py [key=value ...] [--data digits] [--split data.seed] [--values 0 1 2 3 4]
        [--models mlp cnn] [--params n_trials=30 epochs=10 ...]

Every value of the key `--split` (for protein, data.split) is a run in a folder of its own, by the commands of dvc.yaml
with the values of params.yaml, but for `--params`; words before the options go to `src.train` and `src.ensemble`, such as
`members=[seeds,bagging]`, those with a + before them to `src.prepare`, such as +data.rows=5000. What is finished is not
run again, and a sweep that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
STAGES = ("prepare", "lr_range", "sweep", "train", "ensemble")
SCORES = {"classification": ("accuracy", "nll"), "regression": ("rmse", "crps")}


def main() -> None:
    """Run what is missing and write the table to benchmarks/results/pipeline_<data>.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--split", default="data.seed", help="the key whose values are runs")
    parser.add_argument("--values", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--models", nargs="+", default=["mlp", "cnn"])
    parser.add_argument("--params", nargs="+", default=[], help="key=value in params.yaml")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench" / "pipeline")
    args, words = parser.parse_known_args()
    found = {value: run(args.folder / f"{args.data}-{value}", value, args, words) for value in args.values}
    table = report(found, args, words)
    print(table)
    (ROOT / "benchmarks" / "results" / f"pipeline_{args.data}.md").write_text(table)


def run(folder: Path, value: int, args: argparse.Namespace, words: list[str]) -> dict[str, Any]:
    """The metrics of one run, and the minutes it took: of those stages that were not there before."""
    if not (folder / "metrics.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"data": args.data, "models": args.models}
        params |= {key: yaml.safe_load(text) for key, _, text in (word.partition("=") for word in args.params)}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        began = time.monotonic()
        for stage, command in commands(params):
            own = [word.removeprefix("+") for word in words if word.startswith("+") == (stage == "prepare")]
            own = own if stage in ("prepare", "train", "ensemble") else []
            run_in(folder, [*command, *[f"{args.split}={value}"] * (stage == "prepare"), *own])
        (folder / "minutes").write_text(f"{(time.monotonic() - began) / 60:.1f}")
    return {"minutes": (folder / "minutes").read_text(), **json.loads((folder / "metrics.json").read_text())}


def commands(params: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Those of the pipeline, each model's own in turn."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = []
    for stage in STAGES:
        for model in params["models"] if "matrix" in stages[stage] else [None]:
            values: dict[str, Any] = params | {"item.model": model}
            command = stages[stage]["cmd"][-1]
            text = re.sub(r"\$\{([\w.]+)\}", lambda name: str(values[name[1]]), command)  # noqa: B023
            found.append((stage, shlex.split(text)))
    return found


def run_in(folder: Path, command: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command[1:]], cwd=folder, env=environment, check=True)


def report(found: dict[int, dict[str, Any]], args: argparse.Namespace, words: list[str]) -> str:
    """A line a run, and the means with their standard errors."""
    scores = next(names for names in SCORES.values() if names[0] in next(iter(found.values()))["test"])
    sides = [(m, m["best_single"]) for m in found.values()]
    numbers = np.array([[side["test"][key] for key in scores for side in pair] for pair in sides])
    lines = [
        [str(value), *(f"{number:.4f}" for number in row), m["chosen"], m["best_single"]["name"], m["minutes"]]
        for (value, m), row in zip(found.items(), numbers, strict=True)
    ]
    error = numbers.std(0, ddof=1) / len(numbers) ** 0.5 if len(numbers) > 1 else np.zeros(4)
    lines.append(["mean", *(f"{m:.4f} ± {e:.4f}" for m, e in zip(numbers.mean(0), error, strict=True)), "", "", ""])
    columns = [name for score in scores for name in (f"test {score}", f"single {score}")]
    head = [args.split, *columns, "chosen", "best single model", "minutes"]
    body = "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *lines])
    changed = f"--params {' '.join(args.params)}" if args.params else ""
    words = ["python benchmarks/pipeline.py", *words, f"--data {args.data} --models {' '.join(args.models)}", changed]
    command = " ".join(filter(None, words))
    return f"# The pipeline on {args.data}\n\n`{command}`\n\n{body}\n"


if __name__ == "__main__":
    main()
