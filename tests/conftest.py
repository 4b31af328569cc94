"""Tests compute as workers do: MKL's kernels are fixed before its first product, on one thread."""

import src.population  # isort: split

from postgres import no_connection_stays, postgres

from src.population.member import one_thread

__all__ = ["no_connection_stays", "postgres"]  # fixtures for all

assert src.population.__doc__
one_thread()
