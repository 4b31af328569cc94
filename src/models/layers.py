"""Parts that the architectures share: activations with the initialisation that belongs to each, and a table's way in."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rtdl_num_embeddings import PiecewiseLinearEmbeddings


Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]
NumberEmbedding = Literal["none", "piecewise_linear"]
Norm = Literal["none", "batch", "layer", "group"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
ONE_HOT_LIMIT = 64  # up to here one-hot columns are as accurate as embeddings and a step takes half the time (Adult)
MOST_LAYERS = 1000
CATEGORY_DIM = 16  # of a category's embedding above


def initialise(layer: nn.Linear | nn.Conv2d, activation: Activation | None) -> None:
    """Zero bias; weights by what follows the layer: He's before a rectifier, Xavier's before tanh, sigmoid, an output.

    He et al. 2015: normal, variance 2 / fan in. Glorot & Bengio 2010: uniform, variance 2 / (fan in + fan out).
    """
    if layer.weight.is_meta:  # only shapes are asked for; random numbers there would import the compiler: a second
        return
    if activation is None or activation in ("tanh", "sigmoid"):
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def normalisation(norm: Norm, features: int, images: bool = False) -> nn.Module:
    """Make a layer that normalises over the batch (Ioffe & Szegedy 2015), or a row's features (Ba et al. 2016) or groups.

    Groups (Wu & He 2018) are up to 8 and divide the features evenly; of images, features are channels, each with all of its
    pixels.

    Args:
        norm: which of them.
        features: how many.
        images: whether x is [B, C, H, W].
    """
    if norm == "batch":
        return nn.BatchNorm2d(features) if images else nn.BatchNorm1d(features)
    if norm == "layer":
        return nn.GroupNorm(1, features) if images else nn.LayerNorm(features)
    return nn.GroupNorm(math.gcd(8, features), features)


def check_dropout(dropout: float) -> None:
    """Check the share of units that a training step leaves out.

    Raises:
        ValueError: it is not within [0, 1).
    """
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"model.dropout is {dropout}: it must be at least 0 and below 1.")


def check_positive(**values: int) -> None:
    """Check counts, by their keys in `model`.

    Raises:
        ValueError: one is below 1.
    """
    for key, value in values.items():
        if value < 1:
            raise ValueError(f"model.{key} is {value}: it must be at least 1.")


def check_depth(depth: int) -> None:
    """Check a number of layers.

    Raises:
        ValueError: it is below 1, or so large that building them would take minutes.
    """
    check_positive(depth=depth)
    if depth > MOST_LAYERS:
        raise ValueError(f"model.depth is {depth}: it must be at most {MOST_LAYERS}.")


class OneHot(nn.Module):
    """Columns of category indices, {position in x: cardinality}, as [B, sum of cardinalities], in one comparison."""

    column: Tensor
    category: Tensor

    def __init__(self, cardinalities: dict[int, int]) -> None:
        super().__init__()
        columns = [column for column, n in cardinalities.items() for _ in range(n)]
        with torch.device("cpu"):  # of an outline too: `arange` without numbers imports the compiler
            self.register_buffer("column", torch.tensor(columns))
            self.register_buffer("category", torch.cat([torch.arange(float(n)) for n in cardinalities.values()]))

    def forward(self, x_BF: Tensor) -> Tensor:
        """Compute x [B, F] → [B, sum of cardinalities]."""
        return (x_BF.index_select(1, self.column) == self.category).to(x_BF.dtype)


def category_embedding(cardinality: int) -> nn.Embedding:
    """Make an embedding of a column with so many categories."""
    embedding = nn.Embedding(cardinality, CATEGORY_DIM)
    nn.init.uniform_(embedding.weight, -(CATEGORY_DIM**-0.5), CATEGORY_DIM**-0.5)  # torch's N(0, 1) overfits (Adult)
    return embedding


def piecewise_linear(bins: list[list[float]], dim: int) -> PiecewiseLinearEmbeddings:
    """Make an embedding of numeric columns in `dim` numbers each, piecewise linear between the edges of their `bins`.

    Gorishniy et al. 2022, in the version "B" that TabM's authors recommend: it starts out as a linear embedding.
    """
    from rtdl_num_embeddings import PiecewiseLinearEmbeddings  # it imports scikit-learn: a second of every worker

    with (
        warnings.catch_warnings(),
        torch.device("cpu"),
    ):  # it looks at the bins, also of an outline. a yes/no column has one bin, and may
        warnings.filterwarnings("ignore", message=r"The \d+-th feature has just two bin edges")
        return PiecewiseLinearEmbeddings([torch.tensor(edges) for edges in bins], dim, activation=False, version="B")


class Features(nn.Module):
    """Rows as flat vectors [B, width]: images flattened; tables as their numbers, then their categories.

    A table has its numeric columns first, then one column of indices (as floats) per entry of `categories`. Numbers
    pass as they are or through embeddings; categories are one-hot up to `ONE_HOT_LIMIT` values, embedded above.

    Args:
        input_shape: of a row.
        categories: cardinality of each column of categories.
        bins: edges of each numeric column, which `embedding=piecewise_linear` needs.
        embedding: how numbers pass.
        embedding_dim: numbers that a number becomes.

    Raises:
        ValueError: numbers shall be embedded and there are none.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        categories: list[int],
        bins: list[list[float]],
        embedding: NumberEmbedding = "none",
        embedding_dim: int = 1,
    ) -> None:
        super().__init__()
        self.n_numbers = self.width = math.prod(input_shape) - len(categories)
        self.numbers: nn.Module | None = None
        if embedding == "piecewise_linear":
            if not bins:
                raise ValueError(
                    "model.embedding=piecewise_linear needs a table's numeric columns, here are none: use none."
                )
            self.numbers = piecewise_linear(bins, embedding_dim)
            self.width *= embedding_dim

        columns = dict(enumerate(categories, start=self.n_numbers))
        few = {column: n for column, n in columns.items() if n <= ONE_HOT_LIMIT}
        many = {column: n for column, n in columns.items() if n > ONE_HOT_LIMIT}
        self.one_hot = OneHot(few) if few else None
        self.embedded = list(many)
        self.embeddings = nn.ModuleList([category_embedding(n) for n in many.values()])
        self.width += sum(few.values()) + len(many) * CATEGORY_DIM

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, width]."""
        x_BF = x.flatten(1)
        numbers = x_BF[:, : self.n_numbers]
        parts = [numbers if self.numbers is None else self.numbers(numbers).flatten(1)]
        if self.one_hot is not None:
            parts.append(self.one_hot(x_BF))
        parts += [embed(x_BF[:, k].long()) for k, embed in zip(self.embedded, self.embeddings, strict=True)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]
