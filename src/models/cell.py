"""A cell: the directed graph of four nodes and six edges of NAS-Bench-201 (Dong & Yang 2020), with an operation an edge."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from src.system.cell_string import EDGES, NAMES, NODES

Make = Callable[[str], nn.Module]


class Nothing(nn.Module):
    """An edge that carries nothing: zeros of its input's shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute zeros like x."""
        return torch.zeros_like(x)


class Cell(nn.Module):
    """A cell whose nodes are the sums of their edges: node 0 is the input, the last one the output, of one shape.

    Args:
        operations: the name of the operation on each edge, by `NAMES`.
        make: builds the operation of a name.
    """

    def __init__(self, operations: Mapping[str, str], make: Make) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({name: make(operations[name]) for name in NAMES})

    def forward(self, x: Tensor) -> Tensor:
        """Compute x → an output of its shape."""
        nodes = [x]
        for end in range(1, NODES):
            coming = [self.edges[name](nodes[i]) for name, (i, j) in zip(NAMES, EDGES, strict=True) if j == end]
            nodes.append(sum(coming[1:], coming[0]))
        return nodes[-1]
