"""The time that a model takes for one row: measured, so not the same in every run."""

import statistics
import time

import torch
from torch import Tensor, nn

WARM_UP, PASSES = 10, 50


def latency_ms(model: nn.Module, x_1F: Tensor) -> float:
    """Measure a forward pass of a single row on its device, by this thread: the median of 50, in milliseconds."""
    model.eval()
    seconds = []
    with torch.no_grad():
        for _ in range(WARM_UP + PASSES):
            began = time.perf_counter()
            model(x_1F)
            if x_1F.device.type != "cpu":
                torch.accelerator.synchronize()
            seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[WARM_UP:])
