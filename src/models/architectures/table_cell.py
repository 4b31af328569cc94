"""Networks of equal cells for tables: the graph of NAS-Bench-201 with operations that suit flat rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Unpack

from torch import Tensor, nn

from src.models.cell import Cell, Nothing
from src.models.checks import check_dropout, check_positive
from src.models.data_spec import DataSpec
from src.models.embeddings import NumberEmbedding
from src.models.layers import ACTIVATIONS, Activation, Features, Norm, initialise, normalisation
from src.models.mixture import MIXED, Mixed
from src.system.cell_string import operations_of

LINEAR: dict[str, Activation] = {"linear_relu": "relu", "linear_gelu": "gelu", "linear_tanh": "tanh"}
OPERATIONS = ("none", "skip_connect", *LINEAR, "gated_linear")


class TableCell(nn.Module):
    """A linear layer, `cells` equal cells of `width` units, then norm → linear. x [B, *input_shape] → [B, n_outputs].

    Args:
        data_spec: of the data.
        width: units of every node.
        cells: how many, one after another.
        norm: of what each linear operation is given, and before the output.
        dropout: share of the units before the output that a training step leaves out.
        operations: that of each edge of a cell, by `src/system/cell_string.py`.
        embedding: how numbers pass.

    Raises:
        ValueError: a hyperparameter is out of its range.
    """

    choices: ClassVar[Sequence[str]] = OPERATIONS

    def __init__(
        self,
        data_spec: DataSpec,
        *,
        width: int,
        cells: int,
        norm: Norm,
        dropout: float,
        operations: Mapping[str, str] | str,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        super().__init__()
        check_positive(width=width, cells=cells)
        check_dropout(dropout=dropout)
        by_edge = operations_of(operations, self.choices)
        self.features = Features(data_spec, **embedding)
        self.input = nn.Linear(self.features.width, width)
        initialise(self.input, None)
        self.cells = nn.Sequential(*[Cell(by_edge, _maker(width, norm)) for _ in range(cells)])
        self.norm = _norm(norm, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, data_spec.n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs]."""
        out: Tensor = self.output(self.dropout(self.norm(self.cells(self.input(self.features(x))))))
        return out


class GatedLinear(nn.Module):
    """A linear layer times the sigmoid of another (Dauphin et al. 2017). x [B, W] → [B, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value, self.gate, self.sigmoid = nn.Linear(width, width), nn.Linear(width, width), nn.Sigmoid()
        initialise(self.value, None)
        initialise(self.gate, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, W] → [B, W]."""
        out: Tensor = self.value(x) * self.sigmoid(self.gate(x))
        return out


def _maker(width: int, norm: Norm) -> Callable[[str], nn.Module]:
    def make(operation: str) -> nn.Module:
        if operation == MIXED:
            return Mixed(OPERATIONS, make)
        if operation in LINEAR:
            linear = nn.Linear(width, width)
            initialise(linear, LINEAR[operation])
            return nn.Sequential(_norm(norm, width), linear, ACTIVATIONS[LINEAR[operation]]())
        if operation == "gated_linear":
            return nn.Sequential(_norm(norm, width), GatedLinear(width))
        return nn.Identity() if operation == "skip_connect" else Nothing()

    return make


def _norm(norm: Norm, width: int) -> nn.Module:
    return nn.Identity() if norm == "none" else normalisation(norm, width)
