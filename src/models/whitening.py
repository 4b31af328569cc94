"""A first layer that whitens images: the principal components of their patches, of variance 1, and their negatives."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

SIDE = 3  # of a patch, in pixels
LEAST = 5e-4  # is added to the variances: noise that has none is not blown up


def whitening_convolution(channels: int, patches: Sequence[Sequence[float]]) -> nn.Conv2d:
    """Make the layer, whose weights are frozen and whose biases learn (Jordan 2024).

    Args:
        channels: of an image.
        patches: mean products of the pixels of a patch with each other [9 C, 9 C], in the order channel, row, column.

    Raises:
        ValueError: the prepared data have none, since an earlier version wrote them.
    """
    if not patches:
        raise ValueError(
            "model.whitening: these data were prepared before it was there: run python -m src.prepare again."
        )
    size = channels * SIDE**2
    conv = nn.Conv2d(channels, 2 * size, SIDE, padding=SIDE // 2)
    conv.weight.requires_grad_(False)
    if conv.weight.is_meta:
        return conv
    variances, components = np.linalg.eigh(np.array(patches, np.float64))
    whitened = (components / np.sqrt(np.maximum(variances, 0) + LEAST)).T[::-1]
    weight = torch.from_numpy(np.concatenate([whitened, -whitened])).float()
    with torch.no_grad():
        conv.weight.copy_(weight.view_as(conv.weight))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
