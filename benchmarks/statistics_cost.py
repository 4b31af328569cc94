"""What the statistics of an epoch (`src/population/statistics.py`) cost, as a share of training time.

    python benchmarks/statistics_cost.py [--pairs 40]

One population trains epochs with them and without in turns; processor time, the median of the ratios of neighbours.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT), str(ROOT / "tests")]

from training import config, digits, images, population  # noqa: E402

from src.population import population as engine  # noqa: E402
from src.population.member import Member, one_thread  # noqa: E402
from src.population.statistics import Statistics  # noqa: E402


class Without:
    """In the place of the statistics."""

    def __init__(self, of: engine.Population, steps: int) -> None:
        self.size = of.size

    def see(self, g_KP: object) -> None:
        pass

    def points(self) -> list[dict[str, float]]:
        return [{} for _ in range(self.size)]


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    args = parser.parse_args()
    one_thread()
    print("| net, batch, members | ms an epoch | statistics |", "|---|---|---|", sep="\n")
    for model, batch, size in (("mlp", 64, 1), ("mlp", 64, 8), ("mlp", 32, 32), ("mlp", 128, 32), ("cnn", 64, 1)):
        data, more = (digits(1149, 360), {"width": 64}) if model == "mlp" else (images(1149, 360), {"norm": "group"})
        members = [Member(config(model, epochs=1000, batch_size=batch, lr=1e-4, **more), k) for k in range(size)]
        group = population(members, data)
        pairs = [[spent(group, form) for form in (Without, Statistics)] for _ in range(args.pairs)]
        cost = median(own / without for without, own in pairs) - 1
        print(f"| {model}, {batch}, {size} | {1e3 * median(p[0] for p in pairs):.1f} | {cost:+.1%} |", flush=True)


def spent(group: engine.Population, form: type) -> float:
    """Processor seconds of eight epochs, of which the shortest look at rows once."""
    engine.Statistics = form  # type: ignore[misc]
    began = time.process_time()
    for _ in range(8):
        group.epoch()
    return (time.process_time() - began) / 8


if __name__ == "__main__":
    main()
