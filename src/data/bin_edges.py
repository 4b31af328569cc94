"""Edges of the bins of a number, in the order in which they are taken: the first n + 1 are those of n bins.

So one list serves every `model.n_bins`. Both kinds begin with the ends of the column and split one bin after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

MOST_BINS = 256
MOST_EDGES = 2**15  # of all columns of a kind together; a wide table has fewer bins a column, but at least
LEAST_BINS = 48
TREE_CELLS = 2**23  # that all trees together are fitted on; of more, a sample of the rows
TREE_ROWS = 100_000

Edges = Mapping[str, list[list[float]]]


def bin_edges(x_NF: NDArray[np.float32], y_N: NDArray[np.generic]) -> Edges:
    """Compute the edges of each numeric column, by kind: `quantile` and `tree`.

    Args:
        x_NF: numeric columns of the training rows, prepared.
        y_N: their targets: whole numbers for classes, else values.
    """
    n_rows, n_columns = x_NF.shape
    most = max(LEAST_BINS, min(MOST_BINS, MOST_EDGES // max(n_columns, 1)))
    limit = min(TREE_ROWS, TREE_CELLS // max(n_columns, 1))
    sample = np.sort(np.random.default_rng(0).permutation(n_rows)[:limit])
    few_NF, few_N = x_NF[sample], y_N[sample]
    if few_N.dtype.kind == "f":
        few_N = (few_N.astype(np.float64) - few_N.mean(dtype=np.float64)) / (few_N.std(dtype=np.float64) or 1.0)
    return {
        "quantile": [quantile_edges(column, most) for column in x_NF.T],
        "tree": [tree_edges(column, few_N, most) for column in few_NF.T],
    }


def quantile_edges(x_N: NDArray[np.float32], n_bins: int) -> list[float]:
    """Order edges so that every further one halves the bin with the most rows strictly inside of it.

    For 2^k bins of a continuous column these are its quantiles. A value that many rows share becomes an edge, and its rows
    lie inside of no bin any more: all other edges go to the other values (as in LightGBM's bins, Ke et al. 2017), where
    plain quantiles fall on the same value again and again.

    Args:
        x_N: the column in the training rows.
        n_bins: the most bins that will be asked for.
    """
    values, counts = np.unique(x_N, return_counts=True)
    if len(values) == 1:
        return _numbers([values[0], values[0] + 1])
    below = counts.cumsum()  # rows up to each value
    edges, bins = [values[0], values[-1]], [(0, 0, len(values) - 1)]
    bins[0] = (-int(below[-2] - below[0]), *bins[0][1:])
    while bins and len(edges) <= n_bins:
        inside, low, high = heappop(bins)
        if high - low < 2:
            continue
        middle = int(np.searchsorted(below, below[low] - inside / 2).clip(low + 1, high - 1))
        edges.append(values[middle])
        heappush(bins, (-int(below[middle - 1] - below[low]), low, middle))
        heappush(bins, (-int(below[high - 1] - below[middle]), middle, high))
    return _numbers(edges)


def tree_edges(x_N: NDArray[np.float32], y_N: NDArray[np.generic], n_bins: int) -> list[float]:
    """Order edges as a tree of this column alone splits it, the split that gains most first (Gorishniy et al. 2022, §3.2.2).

    scikit-learn grows such a tree by its best leaf next, so that the first splits are those of the smaller tree.

    Args:
        x_N: the column in the training rows.
        y_N: classes as whole numbers, or standardised values.
        n_bins: the most bins that will be asked for.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    low, high = x_N.min(), x_N.max()
    if low == high:
        return _numbers([low, low + 1])
    kind = DecisionTreeRegressor if y_N.dtype.kind == "f" else DecisionTreeClassifier
    leaf = max(1, min(64, len(x_N) // 2000))
    grown = kind(max_leaf_nodes=n_bins, min_samples_leaf=leaf, random_state=0).fit(x_N[:, None], y_N).tree_
    splits = np.flatnonzero(grown.children_left >= 0)
    splits = splits[np.argsort(grown.children_left[splits])]  # leaves are numbered as they come
    thresholds = grown.threshold[splits].astype(np.float32)
    inner = dict.fromkeys(float(value) for value in thresholds if low < value < high)
    return _numbers([low, high, *inner])


def _numbers(edges: list[np.float32] | list[float]) -> list[float]:
    """Write edges with as few digits as 32 bits need."""
    return [float(str(np.float32(edge))) for edge in edges]
