"""Parts that the architectures share: activations with the initialisation that belongs to each, and a table's way in."""

from __future__ import annotations

import math
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from src.models.data_spec import DataSpec
from src.models.embeddings import NumberEmbedding, number_embedding

Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid"]
Norm = Literal["none", "batch", "layer", "group"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
ONE_HOT_LIMIT = 64  # up to here one-hot columns are as accurate as embeddings and a step takes half the time (Adult)
CATEGORY_DIM = 16  # of a category's embedding above


def initialise(layer: nn.Linear | nn.Conv2d, activation: Activation | None) -> None:
    """Initialise a layer: zero bias, He's weights before a rectifier, Xavier's before tanh, sigmoid or an output.

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


class Parametric(nn.Module):
    """An activation f that each unit has to its own degree: x + a (f(x) - x), where a is learnt and begins at 1.

    Holzmüller et al. 2024 (RealMLP).
    """

    def __init__(self, activation: Activation, units: int) -> None:
        super().__init__()
        self.activation, self.degree = ACTIVATIONS[activation](), nn.Parameter(torch.ones(units))

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, units] → [B, units]."""
        out: Tensor = x + self.degree * (self.activation(x) - x)
        return out


class Scale(nn.Module):
    """A learnt factor of each feature, which begins at 1: a soft selection of features (RealMLP)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, features] → [B, features]."""
        return x * self.factor


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


class Features(nn.Module):
    """Rows as flat vectors [B, width]: images flattened; tables as their numbers, then their categories.

    A table has its numeric columns first, then one column of indices (as floats) per entry of `categories`. Numbers
    pass as they are or through embeddings; categories are one-hot up to `ONE_HOT_LIMIT` values, embedded above.

    Args:
        data_spec: of the data.
        embedding: how numbers pass.

    `width`: of a flat vector; `chunks`: the parts of it that come of a column each.

    Raises:
        ValueError: numbers shall be embedded and there are none, or not so.
    """

    def __init__(
        self,
        data_spec: DataSpec,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        super().__init__()
        categories = data_spec.categories
        self.n_numbers = self.width = math.prod(data_spec.input_shape) - len(categories)
        self.numbers = number_embedding(self.n_numbers, data_spec.edges, **embedding)
        width_of_a_number = 1 if self.numbers is None else self.numbers.get_output_shape()[1]
        self.width *= width_of_a_number

        columns = dict(enumerate(categories, start=self.n_numbers))
        few = {column: n for column, n in columns.items() if n <= ONE_HOT_LIMIT}
        many = {column: n for column, n in columns.items() if n > ONE_HOT_LIMIT}
        self.one_hot = OneHot(few) if few else None
        self.embedded = list(many)
        self.embeddings = nn.ModuleList([category_embedding(n) for n in many.values()])
        self.width += sum(few.values()) + len(many) * CATEGORY_DIM
        self.chunks = [width_of_a_number] * self.n_numbers + list(few.values()) + [CATEGORY_DIM] * len(many)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, width]."""
        x_BF = x.flatten(1)
        numbers = x_BF[:, : self.n_numbers]
        parts = [numbers if self.numbers is None else self.numbers(numbers).flatten(1)]
        if self.one_hot is not None:
            parts.append(self.one_hot(x_BF))
        parts += [embed(x_BF[:, k].long()) for k, embed in zip(self.embedded, self.embeddings, strict=True)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]
