"""A forward pass of 20 members as one, against 20 passes one after another, on digits, at several batch sizes.

    python benchmarks/serving.py [--repetitions 7]

The two are timed in turns, in seconds of this process alone; a repetition is the mean of as many calls as fit into 0.05 s,
and the medians are compared. One thread. Any weights do: the arithmetic is the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import yaml  # noqa: E402

from src.models.building import build, n_operations  # noqa: E402
from src.population.member import one_thread  # noqa: E402
from src.serving.fused_nets import Fused  # noqa: E402
from tests.support.metas import data_meta  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
DIGITS = data_meta(1, 8, 8, n_classes=10)
MEMBERS, ROWS = 20, (1, 8, 32, 64, 128, 256, 1024)
SECONDS = 0.05  # of a repetition
CASES = {
    "mlp": {"width": 64, "embedding": "none"},
    "mlp width=128 depth=3 norm=batch": {"width": 128, "depth": 3, "norm": "batch", "embedding": "none"},
    "cnn": {},
}


def case(name: str) -> tuple[list[torch.nn.Module], int]:
    """The members of a case, and the multiply-adds of a row's way through one."""
    model = yaml.safe_load((ROOT / "conf" / "model" / f"{name.split()[0]}.yaml").read_text())["model"] | CASES[name]
    nets = [build(model, DIGITS).eval().requires_grad_(False) for _ in range(MEMBERS)]
    return nets, n_operations(nets[0], DIGITS.input_shape)


def mean_s(call: Callable[[], Any]) -> float:
    calls, began = 0, time.process_time()
    while (spent := time.process_time() - began) < SECONDS or not calls:
        call()
        calls += 1
    return spent / calls


def measure(name: str, rows: int, repetitions: int) -> dict[str, Any]:
    nets, operations = case(name)
    fused, x = Fused(nets, ["alike"] * MEMBERS, (1, 8, 8)), torch.randn(rows, 1, 8, 8)
    ways = {"alone": lambda: [net(x) for net in nets], "fused": lambda: fused(x)}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way, call in ways.items():
            times[way].append(mean_s(call))
    medians = {f"{way}_ms": 1000 * statistics.median(found) for way, found in times.items()}
    ratio = medians["fused_ms"] / medians["alone_ms"]
    return {
        "model": name,
        "rows": rows,
        "operations": operations,
        **medians,
        "ratio": ratio,
        "stacked": rows <= fused.groups[0].rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where serving.json and serving.md go")
    args = parser.parse_args()
    one_thread()
    lines = ["| members | rows a batch | 20 passes | fused | ratio | |", "|---|---|---|---|---|---|"]
    results = []
    with torch.no_grad():
        for name in CASES:
            for rows in ROWS:
                found = measure(name, rows, args.repetitions)
                results.append(found)
                how = "stacked" if found["stacked"] else "one after another"
                times = f"{found['alone_ms']:.2f} ms | {found['fused_ms']:.2f} ms | {found['ratio']:.2f}"
                lines.append(f"| `{name}` | {rows} | {times} | {how} |")
                print(lines[-1], flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "serving.json").write_text(json.dumps(results, indent=2) + "\n")
    (args.out / "serving.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
