"""The job of a worker that shares no disk with the driver. It imports little: what trains is imported where it trains."""

import multiprocessing
import tempfile
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing.util import Finalize
from pathlib import Path

Code = tuple[tuple[str, str], ...]  # digests of files and versions of packages, by name
_processes = threading.local()


def run(driver_code: Code, packed: bytes) -> bytes | dict[Path, bytes]:
    """Do a job on a worker: return its delivery, pickled; or, where the process that trained died, the files it has left.

    It trains in the main thread of a process, where a time limit holds. A thread of a worker (Dask's) has a process of its
    own for that, which stays for its next jobs.

    Args:
        driver_code: what decides on the bits of a training, as the driver has it.
        packed: the parcel, pickled.
    """
    from src.cluster.delivery import deliver

    with tempfile.TemporaryDirectory(prefix="lockstep-") as name:
        folder = Path(name)
        if threading.current_thread() is threading.main_thread():
            return deliver(driver_code, packed, folder)
        try:
            return _process().submit(deliver, driver_code, packed, folder).result()
        except BrokenExecutor:
            del _processes.pool
            return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _process() -> ProcessPoolExecutor:
    from src.engine.processes import pool

    if not hasattr(_processes, "pool"):
        multiprocessing.current_process().daemon = False  # else it may have no children; they end with it anyway
        _processes.pool = pool(1)
        Finalize(None, _end, (_processes.pool,), exitpriority=1)  # before this process waits for its children to end
    process: ProcessPoolExecutor = _processes.pool
    return process


def _end(executor: ProcessPoolExecutor) -> None:
    """End the process that trains, whatever it does: its worker is asked to go."""
    processes = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
