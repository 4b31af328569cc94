"""All networks of `cell` at once: on every edge of a cell a mixture of the operations (Liu et al. 2019, DARTS)."""

from collections.abc import Sequence
from typing import ClassVar

from src.models.architectures.cell import OPERATIONS, Cell
from src.models.layers import Norm
from src.models.mixture import MIXED
from src.models.mixture import Supernet as Mixture
from src.system.cell_string import NAMES


class Supernet(Mixture, Cell):
    """A net as `Cell` whose edges carry the weighted sum of all operations. x [B, C, H, W] → [B, n_outputs].

    Args:
        input_shape: (C, H, W).
        n_outputs: columns of the output.
        channels: of the first of three stages.
        cells: a stage.
        norm: after each convolution, on mixed edges without a scale.

    Raises:
        ValueError: the data is a table, or a hyperparameter is out of its range.
    """

    choices: ClassVar[Sequence[str]] = (MIXED,)

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, *, channels: int, cells: int, norm: Norm) -> None:
        edges = dict.fromkeys(NAMES, MIXED)
        super().__init__(input_shape, n_outputs, channels=channels, cells=cells, norm=norm, operations=edges)
        self.begin_mixture(OPERATIONS)
