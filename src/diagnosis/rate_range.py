"""The rules of a learning-rate range test, on curves over the rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.9
DIVERGED = 4.0  # times the best loss, as fastai stops
FADE = 0.75  # weight of a neighbour beside that of the step itself, and so on outwards, in the trend
SCORE_FADE = 0.5  # the same of scores, which are means over rows already
OVERFLOW = 1e30  # a loss that is as good as infinite
CLIMB = 8  # steps from the divergence on, in which the loss is about that of its steepest direction
PART = 0.1  # of its whole rise: by so much a score has begun to rise, or has fallen
NOISE = 3.0  # times the usual step of a score up or down, below which it has not fallen
SPAN = 1000.0  # from the lowest to the highest rate that trains side by side
BEYOND = 4.0  # times the rate of the lowest loss: so far the other forms look


@dataclass(frozen=True)
class Suggestion:
    """Rates read off the exponential ramp; `diverged_at` is None where it never did.

    `valley_lr`: at two thirds of the longest fall of the loss. `steepest_lr`: where it falls fastest over log(rate).
    `lowest_lr`: where it is lowest, beyond which nothing is gained.
    """

    valley_lr: float
    steepest_lr: float
    lowest_lr: float
    diverged_at: float | None

    @property
    def top(self) -> float:
        """The highest rate that the other forms need to try."""
        return min(BEYOND * self.lowest_lr, self.diverged_at or np.inf)

    def rates(self, low: float, members: int) -> list[float]:
        """Choose the rates of `members` that train side by side: even on a log scale, from `low` at least to the highest."""
        return [float(rate) for rate in np.geomspace(max(low, self.top / SPAN), self.top, members)]


def smooth(loss_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential moving average without the bias of its start."""
    average, out = 0.0, []
    for step, loss in enumerate(loss_S, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        out.append(average / (1 - SMOOTHING**step))
    return np.array(out)


def over(loss_KS: NDArray[np.float64]) -> bool:
    """Tell whether the loss of every seed [K, S] has diverged and has climbed for long enough to be judged."""
    return all(len(loss_S) - _end(smooth(_finite(loss_S))) > CLIMB for loss_S in loss_KS)


def read(rate_S: NDArray[np.float64], loss_KS: NDArray[np.float64]) -> Suggestion:
    """Suggest rates from the exponential ramps of the seeds: `rate_S` [S], `loss_KS` [K, S]; the median over the seeds."""
    suggestions = [_read(rate_S, _finite(loss_S)) for loss_S in loss_KS]
    limits = [suggestion.diverged_at for suggestion in suggestions if suggestion.diverged_at is not None]
    limit = float(np.median(limits)) if len(limits) * 2 > len(suggestions) else None
    medians = [
        float(np.median([getattr(suggestion, key) for suggestion in suggestions]))
        for key in ("valley_lr", "steepest_lr", "lowest_lr")
    ]
    valley, steepest, lowest = (m if limit is None else min(m, limit) for m in medians)
    return Suggestion(valley, steepest, lowest, limit)


def bounds(rate_S: NDArray[np.float64], score_KS: NDArray[np.float64]) -> tuple[float, float]:
    """Find the rates at which the score of a linear ramp begins to rise, and at which it slows, turns ragged or falls.

    Medians over the seeds (Smith 2015, §3.3). `rate_S` [S]; `score_KS` [K, S] is NaN at the steps without a score.
    """
    seen_S = ~np.isnan(score_KS).all(0)
    rate_S, score_KS = rate_S[seen_S], score_KS[:, seen_S]
    base, most = np.median([_bounds(rate_S, score_S) for score_S in score_KS], axis=0).tolist()
    return base, max(base, most)


def _bounds(rate_S: NDArray[np.float64], score_S: NDArray[np.float64]) -> tuple[float, float]:
    score_S = np.maximum(np.where(np.isfinite(score_S), score_S, -np.inf), score_S[0] - 1)
    trend_S = trend(score_S, SCORE_FADE)
    rise = trend_S.max() - score_S[0]
    begun, half, slow = (int(np.argmax(trend_S >= score_S[0] + part * rise)) for part in (PART, 0.5, 1 - PART))
    least = max(PART * rise, NOISE * float(np.median(np.abs(np.diff(score_S)))))
    fallen = np.flatnonzero(score_S[half:] < np.maximum.accumulate(score_S[half:]) - least)
    return rate_S[begun], rate_S[min(slow, half + fallen[0] - 1) if len(fallen) else slow]


def best(rate_S: NDArray[np.float64], loss_S: NDArray[np.float64]) -> float:
    """Find the rate `rate_S` [S] of the lowest loss `loss_S` [S] of members that trained side by side.

    The loss is averaged over neighbours, so that one lucky run does not decide.
    """
    clipped_S = np.minimum(_finite(loss_S), DIVERGED * np.nanmin(loss_S))
    return float(rate_S[np.argmin(trend(np.log(np.maximum(clipped_S, 1 / OVERFLOW)), SCORE_FADE))])


def _finite(loss_S: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(loss_S), loss_S, np.inf)


def _end(smooth_S: NDArray[np.float64]) -> int:
    """Find the step at which the smoothed loss has diverged; the number of steps where it never did."""
    past = ~(smooth_S <= DIVERGED * np.minimum.accumulate(smooth_S))
    return int(np.argmax(np.append(past, True)))


def _read(rate_S: NDArray[np.float64], loss_S: NDArray[np.float64]) -> Suggestion:
    smooth_S = smooth(loss_S)
    lowest = int(np.argmin(smooth_S[: max(_end(smooth_S), 1)]))
    start, stop = _valley(smooth_S[: lowest + 1])
    fall_S = np.gradient(trend(smooth_S[: lowest + 1])) if lowest else np.zeros(1)
    return Suggestion(
        rate_S[start + (stop - start) * 2 // 3],
        rate_S[int(np.argmin(fall_S))],
        rate_S[lowest],
        diverged_at(rate_S, loss_S),
    )


def diverged_at(rate_S: NDArray[np.float64], loss_S: NDArray[np.float64]) -> float | None:
    """Estimate the largest stable rate from `loss_S` [S] over `rate_S` [S]; None where the loss does not diverge.

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


def trend(x_S: NDArray[np.float64], fade: float = FADE) -> NDArray[np.float64]:
    """Average each step with its neighbours on both sides, so that nothing lags; weights fall geometrically by `fade`."""
    distance = np.abs(np.subtract.outer(np.arange(len(x_S)), np.arange(len(x_S))))
    weight = fade**distance
    return np.asarray(weight @ x_S / weight.sum(1), dtype=np.float64)


def _valley(loss_S: NDArray[np.float64]) -> tuple[int, int]:
    """Find the longest stretch in which the loss falls without a break: its first step and its last.

    The valley rule takes the rate at two thirds of it, as fastai documents it. Its code takes the middle of the longest
    falling subsequence, a rate about ten times lower.
    """
    best, start = (0, 0), 0
    for step in range(1, len(loss_S)):
        if not loss_S[step] < loss_S[step - 1]:
            start = step
        if step - start > best[1] - best[0]:
            best = (start, step)
    return best
