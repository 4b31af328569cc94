"""Neighbourhood components analysis with a deep encoder: a prediction from neighbours in a learned space."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from src.models.checks import check_dropout, check_positive
from src.models.data_spec import DataSpec
from src.models.embeddings import NumberEmbedding
from src.models.layers import Features, initialise
from src.models.soft_neighbours import mean_at_once, mean_of_neighbours, tile_rows
from src.models.training_rows import TrainingRows, n_candidates

LEAST = 1e-7  # share of a class that no neighbour has
ENCODED_ROWS = 8192  # training rows encoded at once for predictions
PAIR_OPERATIONS = 128  # the time that the distance and the weight of a pair take, in multiply-adds


class NCA(nn.Module):
    """ModernNCA (Ye et al. 2024): the mean of the neighbours' targets, weighted by softmax(−distance) in a learned space.

    x [B, *input_shape] → [B, n_outputs]: a value, or the logarithms of the classes' shares among the neighbours. In training
    the neighbours are a share `candidates` of the member's training rows, drawn anew for each step, without the row itself;
    in prediction they are all of its rows, encoded once.

    Args:
        data_spec: of the data.
        dim: axes of the space.
        blocks: of the encoder.
        width: units of a block.
        dropout: share of a block's units that a training step leaves out.
        candidates: share of the training rows that a step looks at.
        embedding: how numbers pass.

    Raises:
        ValueError: the data are images, or a hyperparameter is out of its range.
    """

    def __init__(
        self,
        data_spec: DataSpec,
        *,
        dim: int,
        blocks: int,
        width: int,
        dropout: float,
        candidates: float,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        super().__init__()
        if len(data_spec.input_shape) != 1:
            raise ValueError("model.name=nca needs a table, but the data are images: choose model=cnn or model=mlp.")
        check_positive(dim=dim, width=width)
        check_dropout(dropout=dropout)
        if blocks < 0:
            raise ValueError(f"model.blocks is {blocks}: it must be at least 0.")
        if not 0.0 < candidates <= 1.0:
            raise ValueError(f"model.candidates is {candidates}: it must be above 0 and at most 1.")
        self.dim, self.candidates, self.n_outputs = dim, candidates, data_spec.n_outputs
        features = Features(data_spec, **embedding)
        self.encoder = Encoder(features, dim, blocks, width, dropout)
        self.rows = TrainingRows(data_spec.input_shape, classes=self.n_outputs > 1)
        waves = embedding.get("frequencies", 0) if embedding.get("embedding") == "periodic" else 0
        inside = 6 * waves * features.n_numbers + 3 * features.width + blocks * (4 * width + 6 * dim) + 6 * dim
        self._numbers_of_a_row = inside  # that the encoder and its gradients have in memory at once

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs].

        Raises:
            ValueError: it has no training rows.
        """
        if not len(self.rows.x):
            raise ValueError("model.name=nca has no training rows to predict from.")
        if self.training:
            drawn_M, own_B = self.rows.draw(self.candidates)
            encoded = self.encoder(torch.cat([x, self.rows.x[drawn_M]]))
            return self.vote(encoded[: len(x)], encoded[len(x) :], drawn_M, own_B)
        if self.rows.encoded is None:
            with torch.no_grad():
                parts = self.rows.x.chunk(-(-len(self.rows.x) // ENCODED_ROWS))
                self.rows.encoded = torch.cat([self.encoder(part) for part in parts])
        return self.vote(self.encoder(x), self.rows.encoded)

    def vote(
        self, query_BD: Tensor, key_MD: Tensor, places_M: Tensor | None = None, own_B: Tensor | None = None
    ) -> Tensor:
        """Average the targets of neighbours.

        Args:
            query_BD: rows in the space.
            key_MD: neighbours in it.
            places_M: which of the training rows these are; None: all.
            own_B: places of the rows themselves among the neighbours, -1 where they are not.

        Returns:
            Values, or logarithms of shares [B, n_outputs].
        """
        y_M, log_weight_M = self.rows.targets(places_M)
        if self.n_outputs == 1:
            y_MC = y_M[:, None]
        else:
            y_MC = (y_M[:, None] == torch.arange(self.n_outputs, device=y_M.device)).to(query_BD.dtype)
        if torch.compiler.is_exporting():
            mean_BC = mean_at_once(query_BD, key_MD, y_MC, log_weight_M)
        else:
            mean_BC = mean_of_neighbours(query_BD, key_MD, y_MC, log_weight_M, own_B)
        return mean_BC if self.n_outputs == 1 else mean_BC.clamp_min(LEAST).log()

    def training_operations(self, rows: int, batch: int, encoding: int) -> float:
        """Return the multiply-adds of a row's way forward in training: a step encodes the rows that it draws, too.

        Args:
            rows: training rows.
            batch: rows of a step.
            encoding: multiply-adds of a row's way through `encoder`.
        """
        count = n_candidates(rows, self.candidates)
        return encoding * (1 + count / batch) + count * (self.dim + self.n_outputs + PAIR_OPERATIONS)

    def prediction_operations(self, rows: int, encoding: int) -> int:
        """Return the multiply-adds of a row's prediction from so many `rows`, which are encoded already."""
        return encoding + rows * (self.dim + self.n_outputs)

    def step_bytes(self, rows: int, batch: int) -> int:
        """Return the bytes of a step: four tensors of the pairs compared at once, and the encoder's of every row."""
        count = n_candidates(rows, self.candidates)
        return 4 * (4 * min(batch, tile_rows(count)) * count + (batch + count) * self._numbers_of_a_row)


class Encoder(nn.Module):
    """A row's place in the space: features → linear → blocks, around which their input passes → batch norm after blocks.

    A block is batch norm → linear → rectifier → dropout → linear. x [B, *input_shape] → [B, dim].

    Args:
        features: the way in.
        dim: axes of the space.
        blocks: how many.
        width: units of a block.
        dropout: share of these that a training step leaves out.
    """

    def __init__(self, features: Features, dim: int, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        self.features = features
        self.first = nn.Linear(features.width, dim)
        initialise(self.first, None)
        self.blocks = nn.ModuleList([block(dim, width, dropout) for _ in range(blocks)])
        self.norm = nn.BatchNorm1d(dim) if blocks else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, dim]."""
        space_BD: Tensor = self.first(self.features(x))
        for layers in self.blocks:
            space_BD = space_BD + layers(space_BD)
        out: Tensor = self.norm(space_BD)
        return out


def block(dim: int, width: int, dropout: float) -> nn.Sequential:
    """Make one block of the encoder, of `dim` axes and `width` units, of which a step leaves out the share `dropout`."""
    first, last = nn.Linear(dim, width), nn.Linear(width, dim)
    initialise(first, "relu")
    initialise(last, None)
    return nn.Sequential(nn.BatchNorm1d(dim), first, nn.ReLU(), nn.Dropout(dropout), last)
