"""Ranks of MPI: those beside the driver's, or ones that it starts."""

from typing import Literal

from src.cluster.protocol import Cluster
from src.system.errors import UserError, first_line


def mpi(workers: int | Literal["auto"]) -> Cluster:
    """Use the ranks of `mpirun -n 9 python -m mpi4py.futures -m src.sweep executor=mpi`, all but the driver's.

    Without mpirun so many `workers` are started, where the MPI can do that.

    Raises:
        UserError: MPI is not installed, or there are no ranks.
    """
    try:
        from mpi4py.futures import MPIPoolExecutor
    except (ImportError, RuntimeError) as error:
        what = f"pip install -e '.[mpi]', and an MPI such as Open MPI ({first_line(error)})"
        raise UserError(f"executor: mpi needs {what}") from None
    pool = MPIPoolExecutor(None if workers == "auto" else workers)
    try:
        count: int = pool.num_workers
    except Exception as error:
        raise UserError(f"executor: MPI starts no workers ({first_line(error)})") from error
    return Cluster(pool, lambda: count)
