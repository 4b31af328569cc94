"""Workers of Dask: those of a scheduler that runs, or of a cluster that is started for one command."""

import asyncio
import importlib
import json
import uuid
from concurrent.futures import BrokenExecutor, Executor, Future
from logging import ERROR
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

from src.cluster.protocol import Cluster
from src.config.components import trusted
from src.system.cores import n_workers
from src.system.errors import UserError, first_line
from src.system.services import connection_error, until_it_answers

ATTEMPT = 5.0  # seconds for one attempt to reach the scheduler


def dask(
    workers: int | Literal["auto"],
    *,
    address: str | None = None,
    cluster: str | None = None,
    options: dict[str, Any] | None = None,
    wait: float = 60.0,
) -> Cluster:
    """Connect to the scheduler at `address`, or start a cluster.

    Args:
        workers: of a cluster that is started; auto: one a core of this machine. Those of a scheduler that runs come and go.
        address: of the scheduler (tcp://host:8786, tls://…), or the path of its scheduler file (….json).
        cluster: the class of a cluster in a trusted package, such as dask_jobqueue.SLURMCluster; None: processes here.
        options: arguments of that class.
        wait: seconds for a scheduler that does not answer.

    Raises:
        UserError: Dask is not installed, the scheduler does not answer, or the cluster does not start.
    """
    try:
        import dask as package
        from distributed import Client, KilledWorker
    except ImportError:
        raise UserError("executor: dask needs pip install -e '.[dask]'") from None
    package.config.set({"distributed.admin.large-graph-warning-threshold": "1GiB"})  # data may come with a job, once
    if options and cluster is None:
        raise UserError("executor.options: these are arguments of executor.cluster; name that too")
    started = None if address else _started(cluster, options or {}, n_workers(workers))
    client = _connected(address, wait) if address else Client(started)  # type: ignore[no-untyped-call]

    def count() -> int:
        return sum(client.nthreads().values()) if client.status == "running" else 0

    def close() -> None:
        client.close(timeout=ATTEMPT)
        if started is not None:
            started.close(timeout=ATTEMPT)

    pool = ClientPool(client)
    return Cluster(pool, count, (KilledWorker, OSError), close, pool.worker)  # a lost connection is an OSError


class ClientPool(Executor):
    """A Dask client as an executor that says when it has lost its scheduler."""

    def __init__(self, client: Any) -> None:
        """Submit to the scheduler of `client`."""
        self._client, self._executor = client, client.get_executor(pure=False)
        self._keys: WeakKeyDictionary[Future[Any], str] = WeakKeyDictionary()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call, which runs on some worker.

        Args:
            fn: a function of a module that workers can import.
            args: its arguments.
            kwargs: further ones.

        Raises:
            BrokenExecutor: there is no connection.
        """
        if self._client.status != "running":
            raise BrokenExecutor("the connection to Dask's scheduler is lost")
        key = f"lockstep-{uuid.uuid4().hex}"
        future: Future[Any] = self._executor.submit(fn, *args, **kwargs, key=key)
        self._keys[future] = key
        return future

    def worker(self, job: Future[Any]) -> str:
        """Return the address of the worker that has a job, as the scheduler says; "" where none has."""
        if self._client.status != "running":
            return ""
        processing = self._client.processing()
        return next((str(worker) for worker, keys in processing.items() if self._keys.get(job) in keys), "")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all calls, or cancel them.

        Args:
            wait: whether to wait.
            cancel_futures: whether to cancel them in any case.
        """
        self._executor.shutdown(wait=wait and not cancel_futures)


def _connected(address: str, wait: float) -> Any:
    """Connect to a scheduler that may take a while to answer, and say what is waited for."""
    from distributed import Client
    from distributed.comm.core import CommClosedError

    def connect() -> Any:
        file = Path(address)
        place = json.loads(file.read_text(encoding="utf-8"))["address"] if file.suffix == ".json" else address
        asyncio.run(_greet(place))
        return Client(place, timeout=ATTEMPT)  # type: ignore[no-untyped-call]

    def away(error: Exception) -> str:
        if isinstance(error, TimeoutError | CommClosedError):
            return "what takes the connection does not greet as a scheduler does"
        return connection_error(error) if isinstance(error, OSError | json.JSONDecodeError) else ""

    try:
        return until_it_answers(connect, away, f"Dask's scheduler at {address}", wait)
    except (OSError, json.JSONDecodeError) as error:  # its file may not be there yet, or not be whole
        raise UserError(
            f"executor.address: no scheduler of Dask answers at {address} ({away(error)}); start one with dask scheduler"
        ) from error
    except Exception as error:  # whatever Dask makes of an address, or of an answer that is not Dask's
        raise UserError(f"executor.address: {address} is no address of a scheduler ({first_line(error)})") from error


async def _greet(address: str) -> None:
    """Shake hands with what is at an address: the client waits without end for one who takes a connection and is silent."""
    from distributed import Security
    from distributed.comm.core import connect

    arguments = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    greeting = connect(address, timeout=ATTEMPT, **arguments)  # type: ignore[no-untyped-call]
    comm = await asyncio.wait_for(greeting, 2 * ATTEMPT)
    await comm.close()


def _started(name: str | None, options: dict[str, Any], workers: int) -> Any:
    """Start a cluster of a class that a config names."""
    if name is None:
        from distributed import LocalCluster

        defaults = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": ERROR}
        return LocalCluster(**defaults)  # type: ignore[no-untyped-call]
    module, _, kind = name.rpartition(".")
    if (package := module.partition(".")[0]) not in trusted():  # its options may hold commands
        raise UserError(f"executor.cluster: {name} runs code of {package}; if you trust it, add trusted=[{package}]")
    try:
        cluster = getattr(importlib.import_module(module), kind)(**options)
    except Exception as error:  # whatever a package says of its options
        raise UserError(f"executor.cluster: {name} does not start ({first_line(error)})") from error
    cluster.scale(workers)
    return cluster
