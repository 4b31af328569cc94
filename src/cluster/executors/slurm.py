"""Tasks of a Slurm allocation, started by srun and kept for all jobs."""

import os
import warnings
from typing import Any, Literal

from src.cluster.protocol import Cluster
from src.config.command_line import ROOT
from src.system.errors import UserError

RESTARTS = 1000  # of a worker that died: the engine counts the deaths of a task, and knows when it is the task


def slurm(workers: int | Literal["auto"], *, gpus: int = 0) -> Cluster:
    """Use the allocation that the driver runs in, as of `salloc -n 8 python -m src.sweep executor=slurm`.

    Args:
        workers: auto: one a task of the allocation.
        gpus: of each worker.

    Raises:
        UserError: the package is not installed, or the driver runs outside of an allocation.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            from executorlib import SlurmJobExecutor
            from executorlib.standalone.interactive.communication import ExecutorlibSocketError
    except ImportError:
        raise UserError("executor: slurm needs pip install -e '.[slurm]'") from None
    if "SLURM_JOB_ID" not in os.environ:
        command = "salloc -n 8 python -m src.sweep executor=slurm"
        raise UserError(f"executor: slurm trains in an allocation of Slurm, as of {command}, or of sbatch")
    count = int(os.environ.get("SLURM_NTASKS", "1")) if workers == "auto" else workers
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    resources: dict[str, Any] = {"cores": 1, "gpus_per_core": gpus}
    pool = SlurmJobExecutor(max_workers=count, block_allocation=True, resource_dict=resources, restart_limit=RESTARTS)
    return Cluster(pool, lambda: count, (ExecutorlibSocketError,))
