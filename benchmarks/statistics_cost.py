"""What the statistics of an epoch (`src/population/training_statistics.py`) cost, as a share of training time.

    python benchmarks/statistics_cost.py [--epochs 400]

Processor time inside of them over that of the rest of the same epochs: noise of the machine meets both alike.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from torch import Tensor  # noqa: E402

from src.population import population as engine  # noqa: E402
from src.population.member import Member, one_thread  # noqa: E402
from src.population.training_statistics import Statistics  # noqa: E402
from tests.support.training import config, digits, images, population  # noqa: E402


class Timed(Statistics):
    """The same, and the processor seconds spent in it."""

    spent = 0.0

    def __init__(self, *arguments: Any) -> None:
        with timed():
            super().__init__(*arguments)

    def see(self, g_KP: Tensor) -> None:
        with timed():
            super().see(g_KP)

    def points(self, *arguments: Any) -> list[dict[str, float]]:
        with timed():
            return super().points(*arguments)


@contextmanager
def timed() -> Iterator[None]:
    began = time.process_time()
    yield
    Timed.spent += time.process_time() - began


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=400, help="of a single member; of more members fewer")
    args = parser.parse_args()
    one_thread()
    setattr(engine, "Statistics", Timed)  # noqa: B010
    print("| net, batch, members | ms an epoch | statistics |", "|---|---|---|", sep="\n")
    for model, batch, size in (("mlp", 64, 1), ("mlp", 64, 8), ("mlp", 32, 32), ("mlp", 128, 32), ("cnn", 64, 1)):
        data, more = (digits(1149, 360), {"width": 64}) if model == "mlp" else (images(1149, 360), {"norm": "group"})
        members = [Member(config(model, epochs=1000, batch_size=batch, lr=1e-4, **more), k) for k in range(size)]
        group, epochs = population(members, data), max(16, args.epochs // size // (8 if model == "cnn" else 1))
        for count in (8, epochs):  # the first to warm up
            Timed.spent, began = 0.0, time.process_time()
            for _ in range(count):
                group.epoch()
            whole = time.process_time() - began
        share = Timed.spent / (whole - Timed.spent)
        print(f"| {model}, {batch}, {size} | {1e3 * whole / epochs:.1f} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
