"""A cluster as the courier sees it."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass


def nothing() -> None:
    """Close nothing."""


@dataclass(frozen=True)
class Cluster:
    """Workers of another scheduler.

    Args:
        pool: takes the jobs.
        count: counts the workers that are there now; a worker is one job at a time.
        lost: errors of a job whose worker, and no other, is gone, or of a pool that is.
        close: ends what was started for this process alone.
    """

    pool: Executor
    count: Callable[[], int]
    lost: tuple[type[BaseException], ...] = ()
    close: Callable[[], None] = nothing
