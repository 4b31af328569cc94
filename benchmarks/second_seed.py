"""Does a second seed, or the model's view of the neighbourhood, choose a better configuration than the best value does?

    python benchmarks/second_seed.py run OUT.jsonl [--tables digits adult ...] [--seeds 0 1 2]
    python benchmarks/second_seed.py show OUT.jsonl

`run` makes a sweep of each table, then trains its best trials with further seeds; `show` compares rules of choice by the
mean over seeds that no rule has seen. Tables of `LOCKSTEP_DATA`, and two that are made here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from src.engine.engine import Engine  # noqa: E402
from src.engine.task import Task, WorkerSetup  # noqa: E402
from src.population.member import Member  # noqa: E402
from src.population.seeds import derived_seed  # noqa: E402

TOP, FURTHER = 6, 5  # trials, and seeds of each beside its own: the first is for the rules, the others judge
SMALL = ("n_trials=24", "epochs=9")
TABLES = {
    "digits": ("data=digits",),
    "adult": ("data=adult", "data.rows=3000"),
    "california_housing": ("data=california_housing", "data.rows=3000"),
    "uci_protein": ("data=uci_protein", "data.rows=3000"),
    "products": ("data=csv", "data.file=products.csv", "data.target=y", "data.task=regression"),
    "rings": ("data=csv", "data.file=rings.csv", "data.target=y", "data.task=classification"),
}


def make_tables(folder: Path) -> None:
    """Write a regression of sums and products of 17 columns (15,642 rows), and a noisy classification of 3,000."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((15_642, 17))
    y = x[:, :5].sum(1) + x[:, 5] * x[:, 6] + 2 * x[:, 7] * x[:, 8] - x[:, 9] * x[:, 10] + 0.01 * x[:, 16]
    _write(folder / "products.csv", x, [f"{value:.6g}" for value in y])
    x = rng.standard_normal((4_500, 8))
    ring = np.digitize(np.hypot(x[:, 0], x[:, 1]) + 0.2 * rng.standard_normal(len(x)), [0.8, 1.4])
    _write(folder / "rings.csv", x, [f"ring {value}" for value in ring])


def _write(path: Path, x: Any, y: Sequence[str]) -> None:
    head = ",".join([*(f"x{k}" for k in range(x.shape[1])), "y"])
    rows = [",".join([*(f"{value:.6g}" for value in row), label]) for row, label in zip(x, y, strict=True)]
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


def run(out: Path, tables: Sequence[str], seeds: Sequence[int]) -> None:
    """Add a line for each table and seed of a sweep."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        make_tables(place)
        for table in tables:
            for seed in seeds:
                line = {"table": table, "seed": seed, **measured(place, table, seed)}
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(table, seed, flush=True)


def measured(place: Path, table: str, seed: int) -> dict[str, Any]:
    """The values of a sweep's best trials: of each its own, then those under further seeds."""
    words = [*TABLES[table], f"outputs={place}/{table}-{seed}", f"study.root={place}/studies", f"seed={seed}"]
    words += [f"hydra.run.dir={place}/hydra", f"tracking.uri=sqlite:///{place}/mlflow.db", *SMALL]
    words += [f"data.root={place}"] if table in ("products", "rings") else []
    for verb in ("prepare", "sweep"):
        verb_words = [w for w in words if verb == "sweep" or w.startswith(("data", "hydra"))]
        subprocess.run([sys.executable, "-m", f"src.{verb}", *verb_words], cwd=ROOT, check=True, capture_output=True)
    folder = place / f"{table}-{seed}" / "sweep" / "mlp"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    ranking = json.loads((folder / "ranking.json").read_text(encoding="utf-8"))[:TOP]
    name = "csv" if table in ("products", "rings") else table
    data, scratch = ROOT / "data" / "prepared" / name, place / f"again-{table}-{seed}"
    again = trained_again(data, ranking, summary["metric"], seed, scratch)
    curves = [[line["value"], *values] for line, values in zip(ranking, again, strict=True)]
    return {"direction": summary["direction"], "values": curves}


def trained_again(
    data: Path, ranking: Sequence[dict[str, Any]], metric: str, seed: int, folder: Path
) -> list[list[float]]:
    """The last value of every configuration under each further seed; infinitely bad where it failed."""
    tasks = {
        (k, turn): Task(
            f"{k}-{turn}",
            Member(line["config"], derived_seed(seed, "second seed of a trial", line["number"], turn)),
            line["config"]["epochs"],
            None,
            folder / f"{k}-{turn}.safetensors",
        )
        for k, line in enumerate(ranking)
        for turn in range(FURTHER)
    }
    with Engine(WorkerSetup(data, "cpu"), 2) as engine:
        engine.submit(tasks.values())
        values = {}
        for place, task in tasks.items():
            while (outcome := engine.result(task.key, 1.0)) is None:
                pass
            curve = outcome.curves.get(metric, [])
            values[place] = float("nan") if outcome.error or not curve else curve[-1]
    return [[values[k, turn] for turn in range(FURTHER)] for k in range(len(ranking))]


def show(path: Path) -> None:
    """Print for each rule the mean loss over unseen seeds, relative to the best that any rule could have chosen."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print(f"{'table':20} {'seed':>4} " + " ".join(f"{name:>12}" for name in RULES) + f" {'oracle':>12}")
    totals: dict[str, list[float]] = {name: [] for name in RULES}
    for line in lines:
        loss = np.array(line["values"], float) * (1 if line["direction"] == "minimize" else -1)
        loss = np.where(np.isfinite(loss), loss, np.nanmax(loss) + np.ptp(loss[np.isfinite(loss)]))
        seen, unseen = loss[:, :3], loss[:, 3:].mean(1)
        spread = max(unseen.max() - unseen.min(), 1e-12)
        row = {}
        for name, rule in RULES.items():
            chosen = rule(seen)
            row[name] = unseen[chosen]
            totals[name].append((unseen[chosen] - unseen.min()) / spread)
        print(
            f"{line['table']:20} {line['seed']:>4} "
            + " ".join(f"{v:12.5f}" for v in row.values())
            + f" {unseen.min():12.5f}"
        )
    print(f"{'regret':25} " + " ".join(f"{np.mean(v):12.3f}" for v in totals.values()))


def _best_of(trials: int, seeds: int) -> Callable[[Any], int]:
    """Of the first `trials` the one of lowest mean over `seeds`."""
    return lambda seen: int(np.argmin(seen[:trials, :seeds].mean(1)))


RULES = {
    "best value": _best_of(1, 1),
    "2 by 2": _best_of(2, 2),
    "3 by 2": _best_of(3, 2),
    "6 by 2": _best_of(6, 2),
    "3 by 3": _best_of(3, 3),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["run", "show"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    arguments = parser.parse_args()
    if arguments.verb == "run":
        run(arguments.path, arguments.tables, arguments.seeds)
    else:
        show(arguments.path)
