"""A mixture of all operations on every edge of a cell, by whose weights the best one is found (Liu et al. 2019, DARTS)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.cell import Cell, Make, Nothing
from src.system.cell_string import NAMES, SKIP

MIXED = "mixed"  # the operation of an edge that carries all
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm)


class Mixed(nn.Module):
    """An edge that carries the weighted sum of all operations. Its net sets `weights` [O] before each forward.

    Norms have no scale, with which an operation could make up for a small weight (Liu et al. 2019).

    Args:
        operations: their names.
        make: builds the operation of a name.
    """

    weights: Tensor

    def __init__(self, operations: Sequence[str], make: Make) -> None:
        super().__init__()
        self.operations = nn.ModuleList([make(operation) for operation in operations])
        for layer in self.modules():
            if isinstance(layer, NORMS):
                layer.affine = layer.elementwise_affine = False
                layer.register_parameter("weight", None)
                layer.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x → an output of its shape."""
        pairs = zip(self.weights.unbind(), self.operations, strict=True)
        parts = [weight * operation(x) for weight, operation in pairs if not isinstance(operation, Nothing)]
        out: Tensor = sum(parts[1:], parts[0])
        return out


class Supernet(nn.Module):
    """A net of cells with `MIXED` edges; this class stands before that of the net among the parents of a supernet's.

    `mixture` [E, O] has the weight of each operation on each edge, which begin equal; `auxiliary` is the weight of a further
    skip connection on every edge (Chu et al. 2021, DARTS-). Neither is trained with the net's own weights.
    """

    mixture: Tensor
    auxiliary: Tensor
    skip: Tensor
    operations: Sequence[str]

    def begin_mixture(self, operations: Sequence[str]) -> None:
        """Register the weights of the mixture, once the net is built, of these `operations`."""
        self.operations = operations
        self.register_buffer("mixture", torch.full((len(NAMES), len(operations)), 1 / len(operations)))
        self.register_buffer("auxiliary", torch.zeros(()))
        is_skip = [float(operation == SKIP) for operation in operations]
        self.register_buffer("skip", torch.tensor(is_skip), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, ...] → [B, n_outputs]."""
        weights_EO = self.mixture + self.auxiliary * self.skip
        for cell in self.modules():
            if isinstance(cell, Cell):
                for name, weights_O in zip(NAMES, weights_EO.unbind(), strict=True):
                    cell.edges[name].weights = weights_O
        out: Tensor = super().forward(x)
        return out
