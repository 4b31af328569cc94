"""Tests compute as workers do: MKL's kernels are fixed before its first product, on one thread."""

import src.population  # isort: split

from src.population.member import one_thread

assert src.population.__doc__
one_thread()
