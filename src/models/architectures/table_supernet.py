"""All networks of `table_cell` at once: on every edge of a cell a mixture of the operations (Liu et al. 2019, DARTS)."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

from src.models.architectures.table_cell import OPERATIONS, TableCell
from src.models.data_spec import DataSpec
from src.models.embeddings import NumberEmbedding
from src.models.layers import Norm
from src.models.mixture import MIXED, Supernet
from src.system.cell_string import NAMES


class TableSupernet(Supernet, TableCell):
    """A net as `TableCell` whose edges carry the weighted sum of all operations. x [B, *input_shape] → [B, n_outputs].

    Args:
        data_spec: of the data.
        width: units of every node.
        cells: how many, one after another.
        norm: of what each linear operation is given, on mixed edges without a scale, and before the output.
        dropout: share of the units before the output that a training step leaves out.
        embedding: how numbers pass.

    Raises:
        ValueError: a hyperparameter is out of its range.
    """

    choices: ClassVar[Sequence[str]] = (MIXED,)

    def __init__(
        self,
        data_spec: DataSpec,
        *,
        width: int,
        cells: int,
        norm: Norm,
        dropout: float,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        mixed = dict.fromkeys(NAMES, MIXED)
        sizes = {"width": width, "cells": cells}
        super().__init__(data_spec, **sizes, norm=norm, dropout=dropout, operations=mixed, **embedding)
        self.begin_mixture(OPERATIONS)
