"""Arrays that are mapped from files larger than memory."""

from __future__ import annotations

import mmap
from typing import Any

from numpy.typing import NDArray


def read_at_random(rows: NDArray[Any]) -> bool:
    """Tell the kernel that the rows of a mapped file are read in no order; return False of an array in memory."""
    base: Any = rows
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is None or not hasattr(mmap, "MADV_RANDOM"):
        return False
    base.madvise(mmap.MADV_RANDOM)
    return True
