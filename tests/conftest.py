"""Tests compute as workers do: MKL's kernels are fixed before its first product, on one thread."""

import src.population  # isort: split

import pytest

from src.config.components import trust
from src.population.member import one_thread
from tests.support.object_store import s3
from tests.support.postgres import no_connection_stays, postgres
from tests.support.sweeps import prepared

__all__ = ["no_connection_stays", "postgres", "prepared", "s3"]  # fixtures for all

assert src.population.__doc__
one_thread()
trust(["tests"])


@pytest.fixture(autouse=True)
def _zoo_is_trusted() -> None:
    """Let tests build the models of `tests.support.zoo`, whatever a command line of the test before has trusted."""
    trust(["tests"])
