"""Architecture parameters: the outer variables of a supernet, a number for each operation on each edge."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from src.bilevel.constants import CURVES
from src.bilevel.settings import ARCHITECTURE, Settings
from src.bilevel.variables import OuterVariables
from src.population.member import Member
from src.system.cell_string import NAMES, NONE, SKIP


class Architecture(OuterVariables):
    """The V = E · O numbers of a member. Its values are the weights of the mixture: the softmax of an edge's numbers."""

    @classmethod
    def of_operations(cls, operations: Sequence[str], device: torch.device) -> "Architecture":
        """Lay out the numbers of all edges, each with these `operations`, on a `device`."""
        names = [f"{ARCHITECTURE}/{edge}/{operation}" for edge in NAMES for operation in operations]
        return cls({ARCHITECTURE: slice(0, len(names))}, names, {}, torch.empty(0, device=device))

    def start(self, member: Member, settings: Settings) -> Tensor:
        """Return the member's first numbers [V], 0: all operations weigh alike."""
        return torch.zeros(len(self.names))

    def values(self, numbers_KV: Tensor) -> dict[str, Tensor]:
        """Turn numbers into weights of the mixture [K, V], each member's row alone, as bits of a softmax want it."""
        rows = [self.edges(row_V).softmax(1).flatten() for row_V in numbers_KV.unbind()]
        return {ARCHITECTURE: torch.stack(rows)}

    def bound(self, numbers_KV: Tensor) -> None:
        """Leave numbers as they are, which have no bounds."""

    def edges(self, row_V: Tensor) -> Tensor:
        """View one member's row as [E, O]."""
        return row_V.view(len(NAMES), -1)


def derived_cell(curves: Mapping[str, Sequence[float]], most_skips: int | None) -> dict[str, str]:
    """Choose the operation of each edge, by the curves of a supernet's mixture: the heaviest that carries something.

    Taken is the latest epoch in which no more than `most_skips` edges would be skip connections, since these take over when
    a supernet has been trained for too long (Liang et al. 2019, DARTS+). Where there is no such epoch, only the heaviest
    skip connections of the last stay, and other edges have their next heaviest operation (Chen et al. 2019, P-DARTS).

    Args:
        curves: of a trial with `training.darts`.
        most_skips: of the six edges; None: any number.
    """
    weights: dict[str, dict[str, Sequence[float]]] = {}
    for name, curve in curves.items():
        if name.startswith(f"{CURVES}{ARCHITECTURE}/"):
            edge, operation = name.split("/")[2:]
            if operation != NONE:
                weights.setdefault(edge, {})[operation] = curve
    epochs = len(next(iter(weights[NAMES[0]].values())))
    moved = [e for e in range(epochs) if any(len({c[e] for c in by.values()}) > 1 for by in weights.values())]
    for epoch in reversed(moved or [epochs - 1]):
        cell = {edge: max(weights[edge], key=lambda name: weights[edge][name][epoch]) for edge in NAMES}
        if most_skips is None or list(cell.values()).count(SKIP) <= most_skips:
            return cell
    cell = {edge: max(weights[edge], key=lambda name: weights[edge][name][-1]) for edge in NAMES}
    skips = sorted((edge for edge in NAMES if cell[edge] == SKIP), key=lambda edge: -weights[edge][SKIP][-1])
    for edge in skips[most_skips:]:
        others = {name: curve for name, curve in weights[edge].items() if name != SKIP}
        cell[edge] = max(others, key=lambda name: others[name][-1])
    return cell
