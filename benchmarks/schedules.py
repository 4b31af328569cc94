"""Schedules at equal epochs: an MLP on 10,000 training rows of Fashion-MNIST, accuracy on the validation rows.

    python benchmarks/schedules.py [--optimizer sgd --epochs 12 --seeds 5]

Each schedule takes the rates of the range test (`suggested_lr`; cycles run between `base_lr` and `max_lr`) and, so that none
is judged by a rate that another likes, each of a ladder of six. Data: LOCKSTEP_DATA.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hydra import initialize_config_dir

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from src.config.components import make  # noqa: E402
from src.config.compose import CONF  # noqa: E402
from src.config.loading import load  # noqa: E402
from src.data.preparing import prepare  # noqa: E402
from src.diagnosis.rate_range import bounds, over, read  # noqa: E402
from src.engine.fusing import rows  # noqa: E402
from src.engine.rate_ramp import ramp, steps_per_epoch  # noqa: E402
from src.engine.task import WorkerSetup  # noqa: E402
from src.population.member import Member, one_thread  # noqa: E402
from src.population.population import Population  # noqa: E402
from src.population.seeds import derived_seed  # noqa: E402
from src.system.trial_config import TrialConfig  # noqa: E402

SCHEDULES = {
    "constant": [],
    "cosine": [],
    "sgdr": ["schedule.period=4", "schedule.growth=2"],  # restarts after 4 epochs, the second cycle ends with the run
    "triangular": ["schedule.period=4"],
    "triangular2": ["schedule.period=4"],
    "one_cycle": [],
}
BOUND = {"triangular": "low", "triangular2": "low", "one_cycle": "start"}
LADDER = 6  # rates, each twice the one before


def main() -> None:
    """Print a row for each schedule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"epochs": 12, "seeds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--optimizer", default="sgd")
    args = parser.parse_args()
    one_thread()
    with initialize_config_dir(str(CONF), version_base="1.3"), tempfile.TemporaryDirectory() as name:
        words = ["data=fashion_mnist", "model=mlp", f"optimizer={args.optimizer}", f"epochs={args.epochs}"]
        setup = WorkerSetup(Path(name) / "rows", "cpu")
        prepare(load([*words, "data.rows=10000"])["data"], setup.data)
        suggested, base, most = range_test(load(words).trial, setup)
        print(f"range test: suggested {suggested:.2g}, cycles between {base:.2g} and {most:.2g}\n")
        print("| schedule | by the range test | best of the ladder | its rate | after half of the epochs |")
        print("|---|---|---|---|---|")
        for schedule, more in SCHEDULES.items():
            trial = load([*words, f"schedule={schedule}", *(f"++{word}" for word in more)]).trial
            bound = BOUND.get(schedule)
            tested = replace(trial, schedule={**trial.schedule, bound: base / most}) if bound else trial
            peak = most if bound else suggested
            ladder = suggested * 2.0 ** np.arange(LADDER)
            settings = [tested.with_optimizer(lr=peak), *(trial.with_optimizer(lr=float(rate)) for rate in ladder)]
            accuracy_EKS = trained(settings, setup, args.seeds)
            last, half = accuracy_EKS[-1], accuracy_EKS[args.epochs // 2 - 1]
            top = 1 + int(np.argmax(last[1:].mean(1)))
            cells = [_spread(last[0]), _spread(last[top]), f"{ladder[top - 1]:.2g}", f"{half[top].mean():.4f}"]
            print(f"| `{schedule}` | {' | '.join(cells)} |", flush=True)


def range_test(trial: TrialConfig, setup: WorkerSetup) -> tuple[float, float, float]:
    """What the stage finds with its defaults: suggested rate, lower and upper bound."""
    keys = load([])["lr_range"]
    names = ("seeds", "low", "high", "steps")
    rise = ramp(trial, setup, 0, over=over, **{name: keys[name] for name in names})
    rules = read(rise.rate_S, rise.loss_KS)
    steps = keys["linear"]["epochs"] * steps_per_epoch(trial, setup)
    watch, low = max(1, steps // keys["linear"]["points"]), rules.top / steps
    line = ramp(trial, setup, 0, seeds=keys["seeds"], low=low, high=rules.top, steps=steps, linear=True, watch=watch)
    return rules.valley_lr, *bounds(line.rate_S, line.score_KS)


def trained(settings: list[TrialConfig], setup: WorkerSetup, seeds: int) -> np.ndarray:
    """The accuracy after each epoch [E, K, S], seeds other than the range test's."""
    members = [Member(own, derived_seed(seed, "trial", 0)) for own in settings for seed in range(1, seeds + 1)]
    population = Population(
        members,
        rows(setup),
        lambda config: make("optimizer", config.optimizer),
        lambda config: make("schedule", config.schedule),
    )
    points = [population.epoch() for _ in range(settings[0].epochs)]
    found = np.array([[point["val/accuracy"] for point in epoch] for epoch in points])
    return found.reshape(len(points), len(settings), seeds)


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"


if __name__ == "__main__":
    main()
