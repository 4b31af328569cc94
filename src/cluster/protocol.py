"""A cluster as the courier sees it."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any


def nothing() -> None:
    """Close nothing."""


def unknown(job: Future[Any]) -> str:
    """Name no worker."""
    return ""


@dataclass(frozen=True)
class Cluster:
    """Workers of another scheduler.

    Args:
        pool: takes the jobs.
        count: counts the workers that are there now; a worker is one job at a time.
        lost: errors of a job whose worker, and no other, is gone, or of a pool that is.
        close: ends what was started for this process alone.
        worker: names the worker that has a job of the pool; "" where that is not known.
    """

    pool: Executor
    count: Callable[[], int]
    lost: tuple[type[BaseException], ...] = ()
    close: Callable[[], None] = nothing
    worker: Callable[[Future[Any]], str] = unknown
