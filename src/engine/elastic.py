"""Executors whose workers come and go, each of which dies alone."""

from abc import ABC, abstractmethod
from concurrent.futures import Executor


class ElasticExecutor(Executor, ABC):
    """An executor that knows how many workers there are now. One that dies breaks its own jobs, and no others."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """The number of workers that are there now."""
