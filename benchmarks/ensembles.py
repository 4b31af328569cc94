"""What members cost and are worth: bagging against as many single trainings, snapshots against one model at equal epochs.

    LOCKSTEP_DATA=/path/to/data python benchmarks/ensembles.py [--cases bagging snapshot]

On one thread, in this process. `bagging`: digits, 20 members with what they predict out of their bags, in turns with one
training of the same config, default mlp, 20 epochs; medians of 5. `snapshot`: Fashion-MNIST with 10,000 training rows
(data.seed is the seed, so the split differs too), default mlp and 40 epochs of AdamW: one cosine, its last weights; or 5
of them, whose ends are averaged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import initialize_config_dir

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from src.config.compose import CONF  # noqa: E402
from src.config.loading import load  # noqa: E402
from src.data.dataset import load_test, train_targets, val_targets  # noqa: E402
from src.data.preparing import prepare  # noqa: E402
from src.engine.engine import Engine  # noqa: E402
from src.engine.fusing import rows  # noqa: E402
from src.engine.task import WorkerSetup  # noqa: E402
from src.ensembles.final_member import FinalMember  # noqa: E402
from src.ensembles.member_training import MemberTraining  # noqa: E402
from src.ensembles.members.bagging import bagging  # noqa: E402
from src.ensembles.members.seeds import seeds  # noqa: E402
from src.ensembles.members.snapshot import snapshot  # noqa: E402
from src.ensembles.protocol import TrainingContext  # noqa: E402
from src.metrics.scoring import score  # noqa: E402
from src.population.member import one_thread  # noqa: E402
from src.system.mirror import Mirror  # noqa: E402
from src.system.trial_config import TrialConfig  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "ensembles.json"


class Place:
    """Prepared data, and members trained on it on one thread of this process."""

    def __init__(self, folder: Path, *words: str) -> None:
        config = load([*words, "schedule=cosine"])
        self.folder, self.trial, self.setup = folder, config.trial, WorkerSetup(folder / "data", "cpu")
        prepare(config["data"], self.setup.data)
        data = self.setup.data
        self.context = TrainingContext(rows(self.setup), train_targets(data), val_targets(data), folder)

    def made(self, way: Any, trial: TrialConfig, seed: int, **arguments: Any) -> list[FinalMember]:
        with tempfile.TemporaryDirectory() as kept, ThreadPoolExecutor(1) as executor:
            training = MemberTraining(
                way.__name__, Engine(self.setup, 1, executor), self.context, Mirror(Path(kept)), trial
            )
            return training.final_members(way(trial, seed, self.context, **arguments))


def bagging_cost(repetitions: int, n: int = 20) -> dict[str, Any]:
    """Seconds of both, in turns: of the clock, and of the processor, which others on the machine disturb less."""
    clock: dict[str, list[float]] = {"bagging": [], "single": []}
    processor: dict[str, list[float]] = {"bagging": [], "single": []}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), "data=digits", "model=mlp", "epochs=20")
        place.made(seeds, place.trial, 99, n=2)  # both kernels are warm, and known to agree
        for seed in range(repetitions):
            for name, way, arguments in (
                ("bagging", bagging, {"n": n, "bootstrap": "rows"}),
                ("single", seeds, {"n": 1}),
            ):
                began = time.perf_counter(), time.process_time()
                place.made(way, place.trial, seed, **arguments)
                clock[name].append(time.perf_counter() - began[0])
                processor[name].append(time.process_time() - began[1])
    found: dict[str, Any] = {}
    for kind, seconds in {"clock": clock, "processor": processor}.items():
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        found[kind] = {"seconds": seconds, **medians, "ratio": medians["bagging"] / (n * medians["single"])}
    return found


def snapshots(count: int, epochs: int = 40, cycles: int = 5) -> list[dict[str, Any]]:
    """Test scores by seed: one model, the last snapshot, the mean of all."""
    found = []
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            words = ["data=fashion_mnist", "data.rows=10000", f"data.seed={seed}", "model=mlp", f"epochs={epochs}"]
            place = Place(Path(folder), *words)
            x_test, y_test = load_test(place.setup.data)
            one = place.made(seeds, place.trial, seed, n=1)
            several = place.made(snapshot, place.trial, seed, cycles=cycles)
            groups = {"one model": one, "last snapshot": several[-1:], f"{cycles} snapshots": several}
            line: dict[str, Any] = {"seed": seed}
            for name, items in groups.items():
                mean = np.mean([item.predict(torch.from_numpy(x_test)) for item in items], 0)
                line[name] = score("classification", mean, y_test)
            found.append(line)
            print(json.dumps(line), flush=True)
    return found


def table(lines: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, as Markdown."""
    out = ["| | test accuracy | test NLL | test ECE |", "|---|---|---|---|"]
    for name in [name for name in lines[0] if name != "seed"]:
        cells = [[line[name][metric] for line in lines] for metric in ("accuracy", "nll", "ece")]
        out.append(f"| {name} | " + " | ".join(f"{np.mean(c):.4f} ± {np.std(c, ddof=1):.4f}" for c in cells) + " |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["bagging", "snapshot"], choices=["bagging", "snapshot"])
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    one_thread()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        if "bagging" in args.cases:
            results["bagging"] = bagging_cost(args.repetitions)
            for kind, found in results["bagging"].items():
                print(f"{kind}: {found['bagging']:.2f} s and {found['single']:.3f} s, ratio {found['ratio']:.3f}")
        if "snapshot" in args.cases:
            results["snapshot"] = snapshots(args.repetitions)
            print(table(results["snapshot"]))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
