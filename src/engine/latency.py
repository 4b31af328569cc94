"""How long a model takes for one row: measured, so not the same in every run."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch

from src.models.building import build
from src.population.rows import Rows

WARM_UP, PASSES = 10, 50


def latency_ms(model: Mapping[str, Any], data: Rows) -> float:
    """Milliseconds of a forward pass of a single validation row on the data's device, by this thread: the median of 50.

    The weights are new, since they change nothing.
    """
    x_1F, times = data.x_val[:1], []
    made = build(model, data.meta).to(x_1F.device).eval()
    with torch.no_grad():
        for _ in range(WARM_UP + PASSES):
            began = time.perf_counter()
            made(x_1F)
            if x_1F.device.type != "cpu":
                torch.accelerator.synchronize()
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[WARM_UP:])
