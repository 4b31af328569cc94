"""The number of rows that are predicted at once, so that what the layers put out fits into memory."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

MOST_ROWS = 2048
MOST_FLOATS = 2**26  # of one layer's output: 256 MiB


def rows_at_once(module: nn.Module, input_shape: Sequence[int], most: int = MOST_ROWS) -> int:
    """Return how many rows a prediction takes at once: `most`, and fewer where a convolution puts out very much.

    Args:
        module: the net.
        input_shape: of a row.
        most: rows at most.
    """
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    channels = max((layer.out_channels for layer in module.modules() if isinstance(layer, kinds)), default=0)
    return max(1, min(most, MOST_FLOATS // max(1, channels * math.prod(input_shape[1:]))))


def chunks(x: Tensor, module: nn.Module) -> tuple[Tensor, ...]:
    """Cut rows [N, ...] into pieces of about equal size that `module` predicts at once."""
    return x.chunk(max(1, -(-len(x) // rows_at_once(module, x.shape[1:]))))
