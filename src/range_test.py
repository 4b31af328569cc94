"""What a learning-rate range test says: rules on the curve of loss over rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.9
DIVERGED = 4.0  # times the best loss, as fastai stops
FADE = 0.75  # weight of a neighbour beside that of the step itself, and so on outwards, in the trend
OVERFLOW = 1e30  # a loss that is as good as infinite
CLIMB = 8  # steps from the divergence on, in which the loss is about that of its steepest direction


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
    found = [_read(rate_S, np.where(np.isfinite(loss_S), loss_S, np.inf)) for loss_S in loss_KS]
    limits = [f.diverged_at for f in found if f.diverged_at is not None]
    limit = float(np.median(limits)) if len(limits) * 2 > len(found) else None
    medians = [float(np.median([getattr(f, key) for f in found])) for key in ("suggested_lr", "base_lr", "max_lr")]
    suggested, base, most = (m if limit is None else min(m, limit) for m in medians)
    return Suggestion(suggested, base, most, limit)


def _read(rate_S: NDArray[np.float64], loss_S: NDArray[np.float64]) -> Suggestion:
    smooth_S = smooth(loss_S)
    over = np.flatnonzero(~(smooth_S <= DIVERGED * np.minimum.accumulate(smooth_S)))
    lowest = int(np.argmin(smooth_S[: max(over[0], 1) if len(over) else None]))
    start, stop = _valley(smooth_S[: lowest + 1])
    suggested = rate_S[start + (stop - start) * 2 // 3]
    return Suggestion(suggested, rate_S[start], rate_S[lowest], diverged_at(rate_S, loss_S))


def diverged_at(rate_S: NDArray[np.float64], loss_S: NDArray[np.float64]) -> float | None:
    """The largest stable rate; None where the loss does not diverge.

    A rising loss is seen late, since it rises from far below the others. But how fast it rises tells how far the rate is
    past the limit: in a direction of curvature λ a step multiplies it by (1 - rate · λ)², and the limit is 2 / λ.
    """
    whole = int(np.argmax(np.append(loss_S, np.inf) > OVERFLOW))
    log_S = np.log(np.clip(loss_S[:whole], 1 / OVERFLOW, None))
    trend_S = trend(log_S)
    over = np.flatnonzero(trend_S > np.minimum.accumulate(trend_S) + np.log(DIVERGED))
    if not len(over):
        return float(rate_S[whole]) if whole < len(loss_S) else None
    end = int(over[0])
    lowest = int(np.argmin(trend_S[: end + 1]))
    growth = np.exp(np.diff(log_S[end : end + CLIMB + 1]) / 2)
    if len(growth) < 3:
        return float(rate_S[end])
    limits = 2 * rate_S[end : end + len(growth)] / (1 + growth)
    limit = np.median(np.lib.stride_tricks.sliding_window_view(limits, 3), axis=1).min()
    return float(np.clip(limit, rate_S[lowest], rate_S[end]))


def trend(x_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each step and its neighbours on both sides, so that it does not lag; weights fall geometrically."""
    distance = np.abs(np.subtract.outer(np.arange(len(x_S)), np.arange(len(x_S))))
    weight = FADE**distance
    return np.asarray(weight @ x_S / weight.sum(1), dtype=np.float64)


def _valley(loss_S: NDArray[np.float64]) -> tuple[int, int]:
    """The longest stretch in which the loss falls (fastai's valley rule takes the rate at two thirds of it)."""
    best, start = (0, 0), 0
    for step in range(1, len(loss_S)):
        if not loss_S[step] < loss_S[step - 1]:
            start = step
        if step - start > best[1] - best[0]:
            best = (start, step)
    return best
