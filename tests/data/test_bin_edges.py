"""Edges of bins: quantiles where all values differ, frequent values for themselves, trees that begin as smaller ones."""

import numpy as np
import pytest
import torch
from rtdl_num_embeddings import compute_bins
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from src.data.bin_edges import MOST_BINS, bin_edges, quantile_edges, tree_edges
from src.models.data_spec import edges_of
from tests.support.metas import data_meta


def normal(n: int = 4097, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


@pytest.mark.parametrize("n_bins", [1, 2, 16, 64, 256])
def test_a_power_of_two_of_distinct_values_are_quantiles(n_bins: int) -> None:
    x = normal()
    edges = sorted(quantile_edges(x, MOST_BINS)[: n_bins + 1])
    np.testing.assert_allclose(edges, np.quantile(x, np.linspace(0, 1, n_bins + 1)), rtol=0, atol=1e-6)
    if n_bins > 1:
        theirs = compute_bins(torch.tensor(x)[:, None], n_bins=n_bins)[0]
        np.testing.assert_allclose(edges, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_bins", [5, 48, 200])
def test_no_bin_has_more_than_twice_its_share(n_bins: int) -> None:
    x = normal()
    counts, _ = np.histogram(x, np.array(sorted(quantile_edges(x, MOST_BINS)[: n_bins + 1]), np.float32))
    assert len(counts) == n_bins
    assert counts.max() <= 2 * len(x) / n_bins


def test_frequent_values_have_edges_of_their_own() -> None:
    """As Adult's capital-gain: 92 % zeros, of which 48 quantile bins make a handful of edges."""
    draw = np.random.default_rng(1)
    frequent = np.array([594, 3103, 5013, 7298, 7688, 15024, 99999], np.float32)
    x = np.concatenate([np.zeros(9200), draw.choice(frequent, 600), draw.uniform(1, 50_000, 200)]).astype(np.float32)
    assert len(np.unique(np.quantile(x, np.linspace(0, 1, 49)))) < 10
    edges = quantile_edges(x, MOST_BINS)[:49]
    assert len(edges) == 49
    assert {0.0, *frequent.tolist()} <= set(edges)


def test_few_values_are_all_edges() -> None:
    x = np.repeat(np.array([3, -1, 7, 2], np.float32), [5, 1, 90, 4])
    assert sorted(quantile_edges(x, MOST_BINS)) == [-1, 2, 3, 7]
    assert quantile_edges(np.full(9, 2, np.float32), MOST_BINS) == [2, 3]


@pytest.mark.parametrize("regression", [True, False])
@pytest.mark.parametrize("n_bins", [2, 7, 48, 256])
def test_the_first_edges_are_those_of_the_smaller_tree(n_bins: int, regression: bool) -> None:
    x, noise = normal(3000), normal(3000, 1)
    y = np.sin(5 * x) + noise if regression else (np.sin(5 * x) + noise > 0).astype(np.int64)
    leaf = {"min_samples_leaf": 1, "random_state": 0}
    theirs = compute_bins(
        torch.tensor(x)[:, None], n_bins=n_bins, tree_kwargs=leaf, y=torch.tensor(y), regression=regression
    )[0]
    np.testing.assert_array_equal(np.array(sorted(tree_edges(x, y, MOST_BINS)[: n_bins + 1]), np.float32), theirs)
    kind = DecisionTreeRegressor if regression else DecisionTreeClassifier
    assert len(theirs) == kind(max_leaf_nodes=n_bins, **leaf).fit(x[:, None], y).get_n_leaves() + 1


def test_a_tree_s_first_edge_stands_where_the_target_changes() -> None:
    x = normal()
    assert tree_edges(x, (x > 0.7).astype(np.int64), MOST_BINS)[2:] == [pytest.approx(0.7, abs=0.01)]


def test_edges_do_not_depend_on_the_target_s_unit() -> None:
    x = np.stack([normal(800), normal(800, 1)], 1)
    y = x[:, 0] ** 2 + 0.1 * normal(800, 2)
    assert bin_edges(x, y) == bin_edges(x, (1024 * y).astype(np.float64))


def test_a_wide_table_has_fewer() -> None:
    edges = bin_edges(np.stack([normal(600)] * 400, 1), normal(600, 1))
    assert {len(column) for kind in edges.values() for column in kind} == {82}


def test_data_prepared_before_there_were_kinds_have_quantile_bins() -> None:
    edges = edges_of(data_meta(1, bins=[[0.0, 1.0, 2.0, 3.0, 4.0]]))
    assert sorted(edges["quantile"][0]) == [0, 1, 2, 3, 4]
    assert sorted(edges["quantile"][0][:3]) == [0, 2, 4]
