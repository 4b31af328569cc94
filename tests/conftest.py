"""Tests compute as workers do: MKL's kernels are fixed before its first product, on one thread."""

import src.population  # isort: split

import os
from collections import Counter

import pytest

from src.config.components import trust
from src.population.member import one_thread
from tests.support import warm
from tests.support.object_store import s3
from tests.support.postgres import no_connection_stays, postgres
from tests.support.sweeps import prepared
from tests.support.tracked import empty

__all__ = ["empty", "no_connection_stays", "postgres", "prepared", "s3"]  # fixtures for all

assert src.population.__doc__
one_thread()
trust(["tests"])


@pytest.fixture(autouse=True)
def _as_at_the_start() -> None:
    """Let tests build the models of `tests.support.zoo` and compute as workers do, whatever the test before has set.

    A command line trusts other packages, and the first session of ONNX Runtime turns denormals on.
    """
    trust(["tests"])
    one_thread()


@pytest.fixture(autouse=True, scope="session")
def _servers_are_shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the processes of pytest-xdist use the same servers, in the folder that theirs have in common."""
    folder = tmp_path_factory.getbasetemp()
    warm.FOLDERS.append(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of most slow tests, so that no process is left with one of them at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
