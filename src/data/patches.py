"""Second moments of the patches of images, of which a whitening layer is made."""

import numpy as np
from numpy.typing import NDArray

SIDE = 3  # of a patch, in pixels
MOST_IMAGES = 5000


def patch_moments(x: NDArray[np.float32]) -> list[list[float]]:
    """Compute the mean products of the pixels of 3×3 patches of at most 5,000 of the prepared images `x` [N, C, H, W].

    They are [9 C, 9 C], in the order channel, row, column. An image that is smaller than a patch is framed by zeros.
    """
    x = x[:: -(-len(x) // MOST_IMAGES)]
    frame = [(0, 0), (0, 0), *[(1, 1) if side < SIDE else (0, 0) for side in x.shape[2:]]]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, frame), (SIDE, SIDE), axis=(2, 3))
    total, count = np.zeros((x.shape[1] * SIDE**2,) * 2), 0
    for part in np.array_split(windows, -(-len(x) // 500)):  # to bound memory
        patches = part.transpose(0, 2, 3, 1, 4, 5).reshape(-1, len(total)).astype(np.float64)
        total += patches.T @ patches
        count += len(patches)
    moments: list[list[float]] = (total / count).tolist()
    return moments
