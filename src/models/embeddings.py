"""Embeddings of a table's numbers: each becomes several, in which a net can tell nearby values apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

import torch

from src.models.checks import check_positive

if TYPE_CHECKING:
    from rtdl_num_embeddings import PeriodicEmbeddings, PiecewiseLinearEmbeddings

Kind = Literal["none", "piecewise_linear", "periodic"]
Bins = Literal["quantile", "tree"]
Edges = Mapping[str, Sequence[Sequence[float]]]
MOST_BINS = 256


class NumberEmbedding(TypedDict, total=False):
    """The keys of every model of tables that say how its numbers pass: the arguments of `number_embedding`."""

    embedding: Kind
    embedding_dim: int
    frequencies: int
    frequency_scale: float
    embedding_lite: bool
    bins: Bins
    n_bins: int


def number_embedding(
    n_numbers: int,
    edges: Edges,
    embedding: Kind = "none",
    embedding_dim: int = 16,
    frequencies: int = 48,
    frequency_scale: float = 0.1,
    embedding_lite: bool = True,
    bins: Bins = "quantile",
    n_bins: int = 48,
) -> PeriodicEmbeddings | PiecewiseLinearEmbeddings | None:
    """Make the layer from numbers x [B, n_numbers] to [B, n_numbers, embedding_dim]; None where numbers pass as they are.

    Args:
        n_numbers: numeric columns.
        edges: of their bins, by kind; empty where the data is no table.
        embedding: the kind.
        embedding_dim: numbers that each becomes.
        frequencies: of a number (periodic).
        frequency_scale: standard deviation of the initial frequencies (periodic).
        embedding_lite: one linear layer behind the frequencies for all numbers, instead of one each (periodic).
        bins: kind of bins (piecewise linear).
        n_bins: at most so many bins of a number (piecewise linear).

    Raises:
        ValueError: a hyperparameter is out of its range, or there are no numeric columns.
    """
    check_positive(embedding_dim=embedding_dim, frequencies=frequencies)
    if not frequency_scale > 0:
        raise ValueError(f"model.frequency_scale is {frequency_scale}: it must be above 0.")
    if not 1 <= n_bins <= MOST_BINS:
        raise ValueError(f"model.n_bins is {n_bins}: it must be from 1 to {MOST_BINS}.")
    if embedding == "none":
        return None
    if not edges.get("quantile"):
        raise ValueError(f"model.embedding={embedding} needs a table's numeric columns, here are none: use none.")
    if embedding == "periodic":
        return periodic(n_numbers, embedding_dim, frequencies, frequency_scale, embedding_lite)
    if bins not in edges:
        raise ValueError(f"model.bins={bins}: the prepared data has no such bins: run prepare again.")
    return piecewise_linear([sorted(column[: n_bins + 1]) for column in edges[bins]], embedding_dim)


def periodic(n_numbers: int, dim: int, frequencies: int, scale: float, lite: bool) -> PeriodicEmbeddings:
    """Make an embedding by sines and cosines, whose frequencies are learnt, then linear → ReLU.

    Gorishniy et al. 2022, §3.3 (PLR); `lite` Gorishniy et al. 2024 (TabR). The initial frequencies are normal: a large
    `scale` tells single values apart, a small one gives smooth functions.

    Args:
        n_numbers: numeric columns.
        dim: numbers that each becomes.
        frequencies: of a number.
        scale: standard deviation of the initial frequencies.
        lite: one linear layer for all numbers.
    """
    from rtdl_num_embeddings import PeriodicEmbeddings  # it imports scikit-learn: a second of every worker

    return PeriodicEmbeddings(n_numbers, dim, n_frequencies=frequencies, frequency_init_scale=scale, lite=lite)


def piecewise_linear(bins: Sequence[Sequence[float]], dim: int) -> PiecewiseLinearEmbeddings:
    """Make an embedding of numeric columns in `dim` numbers each, piecewise linear between the edges of their `bins`.

    Gorishniy et al. 2022, in the version "B" that TabM's authors recommend: it starts out as a linear embedding.
    """
    from rtdl_num_embeddings import PiecewiseLinearEmbeddings

    with (
        warnings.catch_warnings(),
        torch.device("cpu"),
    ):  # it looks at the bins, also of an outline. a yes/no column has one bin, and may
        warnings.filterwarnings("ignore", message=r"The \d+-th feature has just two bin edges")
        return PiecewiseLinearEmbeddings([torch.tensor(edges) for edges in bins], dim, activation=False, version="B")
