"""The number of workers that a person asks for, or as many as there are cores."""

import os
from typing import Literal


def n_workers(wanted: int | Literal["auto"]) -> int:
    """Return how many workers `wanted` means; auto: one a core that this process may use."""
    return len(os.sched_getaffinity(0)) if wanted == "auto" else wanted
