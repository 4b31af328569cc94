"""The string form of a cell: NAS-Bench-201's graph of four nodes (Dong & Yang 2020), an operation on each of six edges."""

from collections.abc import Mapping, Sequence

NODES = 4
EDGES = tuple((start, end) for end in range(1, NODES) for start in range(end))
NAMES = tuple(f"from_{start}_to_{end}" for start, end in EDGES)
SKIP, NONE = "skip_connect", "none"


def operations_of(cell: Mapping[str, str] | str, choices: Sequence[str]) -> dict[str, str]:
    """Read the operation on each edge from a mapping by edge or from the string form of a cell.

    Args:
        cell: `{from_0_to_1: operation, …}`, or NAS-Bench-201's string `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
        choices: the operations that there are.

    Raises:
        ValueError: an edge or an operation that is not there.
    """
    operations = parsed_cell(cell) if isinstance(cell, str) else dict(cell)
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


def parsed_cell(text: str) -> dict[str, str]:
    """Read the operation on each edge from the string form of a cell; what is no cell lacks edges, or has others."""
    operations = {}
    for end, node in enumerate(text.split("+"), start=1):
        for edge in filter(None, node.split("|")):
            operation, _, start = edge.rpartition("~")
            operations[f"from_{start}_to_{end}"] = operation
    return operations
