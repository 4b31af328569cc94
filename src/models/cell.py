"""A cell: the directed graph of four nodes and six edges of NAS-Bench-201 (Dong & Yang 2020), with an operation an edge."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

NODES = 4
EDGES = tuple((start, end) for end in range(1, NODES) for start in range(end))
NAMES = tuple(f"from_{start}_to_{end}" for start, end in EDGES)

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


def operations_of(cell: Mapping[str, str] | str, choices: Sequence[str]) -> dict[str, str]:
    """Read the operation on each edge from a mapping by edge or from the string form of a cell.

    Args:
        cell: `{from_0_to_1: operation, …}`, or NAS-Bench-201's string `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
        choices: the operations that there are.

    Raises:
        ValueError: an edge or an operation that is not there.
    """
    operations = _parsed(cell) if isinstance(cell, str) else dict(cell)
    if operations.keys() != set(NAMES):
        raise ValueError(f"model.operations must name an operation for each of {', '.join(NAMES)}.")
    for name, operation in operations.items():
        if operation not in choices:
            raise ValueError(f"model.operations.{name} is {operation}: it must be one of {', '.join(choices)}.")
    return operations


def cell_string(operations: Mapping[str, str]) -> str:
    """Write a cell as NAS-Bench-201 does: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, a node between two plus signs."""
    ends = [
        "".join(f"|{operations[name]}~{i}" for name, (i, j) in zip(NAMES, EDGES, strict=True) if j == end) + "|"
        for end in range(1, NODES)
    ]
    return "+".join(ends)


def _parsed(text: str) -> dict[str, str]:
    operations = {}
    for end, node in enumerate(text.split("+"), start=1):
        for edge in filter(None, node.split("|")):
            operation, _, start = edge.rpartition("~")
            operations[f"from_{start}_to_{end}"] = operation
    return operations
