"""Residual network for tables and (flattened) images."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from src.models.checks import check_depth, check_dropout, check_positive
from src.models.data_spec import DataSpec
from src.models.embeddings import NumberEmbedding
from src.models.layers import ACTIVATIONS, Activation, Features, Norm, initialise, normalisation


class ResNet(nn.Module):
    """A linear layer, `depth` residual blocks, then norm → activation → linear (Gorishniy et al. 2021, §3.2).

    x [B, *input_shape] → [B, n_outputs].

    Args:
        data_spec: of the data.
        width: units that go around the blocks.
        hidden_width: units inside of a block.
        depth: blocks.
        activation: of a block and before the output.
        norm: of a block and before the output.
        dropout: share of a block's inner units that a training step leaves out.
        residual_dropout: the same of what a block adds.
        embedding: how numbers pass.

    Raises:
        ValueError: a hyperparameter is out of its range.
    """

    def __init__(
        self,
        data_spec: DataSpec,
        *,
        width: int,
        hidden_width: int,
        depth: int,
        activation: Activation,
        norm: Norm,
        dropout: float,
        residual_dropout: float,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        super().__init__()
        check_depth(depth)
        check_positive(width=width, hidden_width=hidden_width)
        check_dropout(dropout=dropout, residual_dropout=residual_dropout)
        self.features = Features(data_spec, **embedding)
        self.input = nn.Linear(self.features.width, width)
        initialise(self.input, None)
        self.blocks = nn.ModuleList(
            [residual(width, hidden_width, activation, norm, dropout, residual_dropout) for _ in range(depth)]
        )
        self.norm = nn.Identity() if norm == "none" else normalisation(norm, width)
        self.activation = ACTIVATIONS[activation]()
        self.output = nn.Linear(width, data_spec.n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs]."""
        h = self.input(self.features(x))
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.output(self.activation(self.norm(h)))
        return out


def residual(
    width: int, hidden_width: int, activation: Activation, norm: Norm, dropout: float, residual_dropout: float
) -> nn.Sequential:
    """Make a block, whose output is added to its input: norm → linear → activation → dropout → linear → dropout.

    Args:
        width: units of input and output.
        hidden_width: units between the linear layers.
        activation: after the first of them.
        norm: before it.
        dropout: share of the hidden units that a training step leaves out.
        residual_dropout: the same of the output.
    """
    first, second = nn.Linear(width, hidden_width), nn.Linear(hidden_width, width)
    initialise(first, activation)
    initialise(second, None)
    return nn.Sequential(
        nn.Identity() if norm == "none" else normalisation(norm, width),
        first,
        ACTIVATIONS[activation](),
        nn.Dropout(dropout),
        second,
        nn.Dropout(residual_dropout),
    )
