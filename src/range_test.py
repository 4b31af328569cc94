"""What a learning-rate range test says: rules on the curve of loss over rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.9
DIVERGED = 4.0  # times the best loss, as fastai stops


@dataclass(frozen=True)
class Suggestion:
    """Rates read off the curve; `diverged_at` is None where it never did."""

    suggested_lr: float
    base_lr: float
    max_lr: float
    diverged_at: float | None


def smooth(loss_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential moving average without the bias of its start."""
    average, out = 0.0, []
    for step, loss in enumerate(loss_S, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        out.append(average / (1 - SMOOTHING**step))
    return np.array(out)


def read(rate_S: NDArray[np.float64], loss_KS: NDArray[np.float64]) -> Suggestion:
    """The suggestion of each seed's curve, and of those the median."""
    found = [_read(rate_S, smooth(np.nan_to_num(loss_S, nan=np.inf, posinf=np.inf))) for loss_S in loss_KS]
    diverged = [d for _, _, _, d in found if d is not None]
    suggested, base, most = (float(np.median([f[k] for f in found])) for k in range(3))
    return Suggestion(suggested, base, most, float(np.median(diverged)) if len(diverged) * 2 > len(found) else None)


def _read(rate_S: NDArray[np.float64], loss_S: NDArray[np.float64]) -> tuple[float, float, float, float | None]:
    best_S = np.minimum.accumulate(loss_S)
    over = np.flatnonzero(~(loss_S <= DIVERGED * best_S))
    end = int(over[0]) if len(over) else len(loss_S)
    lowest = int(np.argmin(loss_S[: max(end, 1)]))
    start, stop = _valley(loss_S[: lowest + 1])
    suggested = rate_S[start + (stop - start) * 2 // 3]
    return suggested, rate_S[start], rate_S[lowest], float(rate_S[end]) if len(over) else None


def _valley(loss_S: NDArray[np.float64]) -> tuple[int, int]:
    """The longest stretch in which the loss falls (fastai's valley rule takes the rate at two thirds of it)."""
    best, start = (0, 0), 0
    for step in range(1, len(loss_S)):
        if not loss_S[step] < loss_S[step - 1]:
            start = step
        if step - start > best[1] - best[0]:
            best = (start, step)
    return best
