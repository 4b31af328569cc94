"""Tests compute as workers do: MKL's kernels are fixed before its first product, on one thread."""

import src.population  # isort: split

from src.population.member import one_thread
from tests.support.postgres import no_connection_stays, postgres
from tests.support.sweeps import prepared

__all__ = ["no_connection_stays", "postgres", "prepared"]  # fixtures for all

assert src.population.__doc__
one_thread()
