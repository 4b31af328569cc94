"""Training and validation rows as one array, for members that learn from both."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 2**28  # that are copied in memory


def joined(first: NDArray[Any], second: NDArray[Any], folder: Path) -> NDArray[Any]:
    """Return the rows of two arrays, one after the other; more than `MOST_BYTES` of them are memory-mapped.

    Args:
        first: [N, ...].
        second: [M, ...], of the same type.
        folder: of the prepared data. The mapped file lies beside it, without a name, and is gone with the process.
    """
    if first.nbytes + second.nbytes <= MOST_BYTES:
        return np.concatenate([first, second])
    place = folder.absolute().parent
    with tempfile.TemporaryFile(dir=place if os.access(place, os.W_OK) else None) as file:
        for rows in (first, second):
            np.ascontiguousarray(rows).tofile(file)
        file.flush()
        shape = (len(first) + len(second), *first.shape[1:])
        return np.asarray(np.memmap(file, first.dtype, "c", shape=shape))
