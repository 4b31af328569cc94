"""Executors whose workers come and go, each of which dies alone."""

from abc import ABC, abstractmethod
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """The load of workers that come and go, as a person should know it.

    `waiting`: segments that none has begun. `oldest`: the key of the one that was handed over first, `seconds` ago, and
    `worker` the name of who has it, if that is known.
    """

    workers: int
    waiting: int
    oldest: str = ""
    seconds: float = 0.0
    worker: str = ""


class ElasticExecutor(Executor, ABC):
    """An executor that knows how many workers there are now. One that dies breaks its own jobs, and no others."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """The number of workers that are there now."""

    @abstractmethod
    def worker(self, job: Future[Any]) -> str:
        """Return the name of the worker that has a job; "" where that is not known."""
