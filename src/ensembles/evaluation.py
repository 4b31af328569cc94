"""Evaluation of an ensemble: its chance of being better, how its members differ, what more of them gain and cost.

Predictions are probabilities [M, N, C] or values [M, N] of M members on N rows; shares [M] of at least zero sum to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.metrics.listing import metrics
from src.metrics.scoring import row_losses

Array = NDArray[np.float64]
DRAWS = 1000  # of the bootstrap


# --- chance ------------------------------------------------------------------------------------------------------------


def _resampled(losses_NK: Array, seed: int) -> Array:
    """Means over DRAWS samples of as many rows, with replacement."""
    rng, n = np.random.default_rng(seed), len(losses_NK)
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) @ losses_NK / n for _ in range(DRAWS)])


def intervals(
    task: str, predictions: NDArray[Any], y_N: NDArray[Any], other: NDArray[Any] | None = None, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Compute each metric that is a mean over rows, less `other`'s on the same rows, with its 95 % bootstrap interval.

    The rows are drawn again (Efron 1979).

    Args:
        task: `classification` or `regression`.
        predictions: probabilities [N, C], or values [N] in the target's unit.
        y_N: classes [N], or values [N] in the same unit.
        other: predictions of another model for the same rows, of the same shape.
        seed: of the rows that are drawn.
    """
    ours = row_losses(task, predictions, y_N)
    names, theirs = list(ours), row_losses(task, other, y_N) if other is not None else {}
    columns = np.stack([*ours.values(), *theirs.values()], 1)
    means = np.concatenate([columns.mean(0)[None], _resampled(columns, seed)])
    for k, name in enumerate([*ours, *theirs]):
        means[:, k] = metrics()[name].from_mean(means[:, k])
    values = means[:, : len(names)] - (means[:, len(names) :] if theirs else 0)
    low, high = np.quantile(values[1:], (0.025, 0.975), axis=0)
    return {
        name: {"value": float(values[0, k]), "low": float(low[k]), "high": float(high[k])}
        for k, name in enumerate(names)
    }


# --- how members differ ------------------------------------------------------------------------------------------------


def diversity(p_MNC: NDArray[Any], y_N: NDArray[Any]) -> dict[str, Array]:
    """Measure how each pair of members differs, [M, M] (Kuncheva & Whitaker 2003), NaN where a measure is not defined.

    Of classes: `disagreement`, the share of rows that one has right and the other wrong; Yule's `q`; `double_fault`, the
    share that both have wrong; `correlation` of being right. Of values: the root mean squared difference as
    `disagreement`, and the `correlation` of the errors.
    """
    p_MNC = np.asarray(p_MNC, np.float64)
    n = len(y_N)
    if p_MNC.ndim == 2:
        error_MN = p_MNC - y_N
        apart = [np.sqrt(((p_MNC - one) ** 2).mean(1)) for one in p_MNC]
        return {"disagreement": np.stack(apart), "correlation": _correlation(error_MN)}
    right_MN = (p_MNC.argmax(2) == y_N).astype(float)
    both, neither = right_MN @ right_MN.T, (1 - right_MN) @ (1 - right_MN).T
    one = right_MN @ (1 - right_MN).T
    agree, differ = both * neither, one * one.T
    q = np.divide(agree - differ, agree + differ, out=np.full_like(agree, np.nan), where=agree + differ > 0)
    return {
        "disagreement": (one + one.T) / n,
        "q": q,
        "double_fault": neither / n,
        "correlation": _correlation(right_MN),
    }


def _correlation(x_MN: Array) -> Array:
    """Pearson's, NaN for members that do not vary."""
    x_MN = x_MN - x_MN.mean(1, keepdims=True)
    size_M = np.sqrt((x_MN**2).sum(1))
    scale = np.outer(size_M, size_M)
    return np.divide(x_MN @ x_MN.T, scale, out=np.full_like(scale, np.nan), where=scale > 1e-12)


def mean_pair(pairs_MM: Array) -> float | None:
    """Average a measure `pairs_MM` over pairs of different members; None where it is defined for none."""
    pairs = pairs_MM[np.triu_indices(len(pairs_MM), 1)]
    return float(pairs[np.isfinite(pairs)].mean()) if np.isfinite(pairs).any() else None


def ambiguity(p_MNC: NDArray[Any], y_N: NDArray[Any], shares: Array) -> dict[str, float]:
    """Decompose the squared error of the mean: that of its members less their ambiguity, exactly (Krogh & Vedelsby 1995).

    The mean of the predictions `p_MNC` (probabilities [M, N, C], or values [M, N]) is by `shares` [M]; against classes `y_N`
    the squared error is the Brier score. Whatever else a combiner does is not in it.
    """
    p_MNC = np.asarray(p_MNC, np.float64)
    truth = np.eye(p_MNC.shape[2])[y_N] if p_MNC.ndim == 3 else np.asarray(y_N, np.float64)
    mean = np.tensordot(shares, p_MNC, 1)
    members = [float(((p - truth) ** 2).sum() / len(y_N)) for p in p_MNC]
    apart = [float(((p - mean) ** 2).sum() / len(y_N)) for p in p_MNC]
    return {
        "error": float(((mean - truth) ** 2).sum() / len(y_N)),
        "members": float(shares @ members),
        "ambiguity": float(shares @ apart),
    }


def embedding(p_KNC: NDArray[Any]) -> tuple[Array, list[float]]:
    """Place K predictions in a plane [K, 2] by principal components, with the share of the variance on each axis."""
    from sklearn.decomposition import PCA

    flat = np.asarray(p_KNC, np.float64).reshape(len(p_KNC), -1)
    k = min(2, len(flat), flat.shape[1])
    if np.ptp(flat, 0).max() == 0:
        return np.zeros((len(flat), 2)), [0.0, 0.0]
    model = PCA(k, svd_solver="full").fit(flat)
    points = np.zeros((len(flat), 2))
    points[:, :k] = model.transform(flat)
    return points, [*map(float, model.explained_variance_ratio_), 0.0][:2]


def disputed(p_MNC: NDArray[Any], shares: Array, n: int) -> NDArray[np.int64]:
    """Find the `n` rows on which the members differ most: by the variance of their predictions, summed over classes.

    Args:
        p_MNC: predictions of the members, [M, N, C] or [M, N].
        shares: of the members [M], sum 1.
        n: rows at most.
    """
    p_MNC = np.asarray(p_MNC, np.float64)
    apart = np.tensordot(shares, (p_MNC - np.tensordot(shares, p_MNC, 1)) ** 2, 1)
    return np.argsort(-(apart.sum(1) if apart.ndim == 2 else apart), kind="stable")[:n]


# --- how many, and at what cost ----------------------------------------------------------------------------------------


def growth(task: str, p_MNC: NDArray[Any], y_N: NDArray[Any], by: str, draws: int = 40) -> list[dict[str, float]]:
    """Score the average of n members: the mean over random choices of them, their tenth and ninetieth percentile.

    Args:
        task: `classification` or `regression`.
        p_MNC: predictions of the members, [M, N, C] or [M, N].
        y_N: targets of these rows.
        by: the metric.
        draws: random choices for each n.
    """
    rng, m = np.random.default_rng(0), len(p_MNC)
    orders = [rng.permutation(m) for _ in range(draws)]
    points = []
    for n in _sizes(m):
        values = [_metric(task, np.mean(p_MNC[order[:n]], 0), y_N, by) for order in (orders if n < m else orders[:1])]
        low, high = np.quantile(values, (0.1, 0.9))
        points.append({"n": n, "value": float(np.mean(values)), "low": float(low), "high": float(high)})
    return points


def _sizes(m: int) -> Iterator[int]:
    """1 to m; of many, some 25."""
    yield from sorted({round(n) for n in np.linspace(1, m, min(m, 25))})


def _metric(task: str, predictions: NDArray[Any], y_N: NDArray[Any], by: str) -> float:
    return float(metrics()[by].from_mean(row_losses(task, predictions, y_N)[by].mean()))


def frontier(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """List the positions that nothing beats in both cost and value (lower is better), by cost."""
    best, front = np.inf, []
    for position in np.lexsort((values, costs)):
        if values[position] < best:
            best = values[position]
            front.append(int(position))
    return front


def smallest(costs: Sequence[float], losses_PN: Array) -> tuple[int, float]:
    """Find the cheapest position whose mean loss is within a standard error of the best's (Breiman et al. 1984).

    `losses_PN` are of each position and row. Returns the position and the limit.
    """
    means = losses_PN.mean(1)
    best = int(means.argmin())
    limit = float(means[best] + losses_PN[best].std(ddof=1) / np.sqrt(losses_PN.shape[1]))
    within = [place for place in range(len(costs)) if means[place] <= limit]
    return min(within, key=lambda place: (costs[place], means[place])), limit
