"""The engine with the executor that a config asks for."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from src.cluster.courier import Courier
from src.config.components import make
from src.engine.engine import Engine
from src.engine.task import WorkerSetup
from src.system.store import Store


def engine_of(config: Mapping[str, Any], setup: WorkerSetup) -> Engine:
    """Start the engine of a config, with `executor`, `workers` and `store`, for the data and device of a `setup`."""
    return Engine(setup, config["workers"], starter(config), config["executor"]["patience"])


def starter(config: Mapping[str, Any]) -> Callable[[], Executor]:
    """Return what starts the executor of a config; the engine starts it again where it breaks."""
    url, section = config["store"]["url"], config["executor"]

    def start() -> Executor:
        store = Store.writable(url) if url and section["name"] != "local" else None
        executor = make("executor", section, config["workers"])
        return executor if isinstance(executor, Executor) else Courier(executor, store)

    return start
