"""Processes of this machine, one thread each."""

from concurrent.futures import Executor
from typing import Literal


def local(workers: int | Literal["auto"]) -> Executor:
    """Start as many workers as are asked for; auto: one a core."""
    from src.engine.processes import pool
    from src.system.cores import n_workers

    return pool(n_workers(workers))
