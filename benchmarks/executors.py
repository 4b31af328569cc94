"""The same sweep on every executor, undisturbed and disturbed: whether its table keeps its bytes, and what a segment costs.

python benchmarks/executors.py --search asha gp --rows local dask1 dask2 dask4 mpi slurm killed restarted driver

Without a name after --rows it measures what a segment costs; in an allocation (salloc -n 2 …) that of Slurm too.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from src.cluster.opening import starter  # noqa: E402
from src.engine.processes import pool  # noqa: E402
from src.engine.task import Task, WorkerSetup  # noqa: E402
from src.engine.worker import train  # noqa: E402
from tests.engine.test_engine import member  # noqa: E402
from tests.support.dask_workers import Scheduler  # noqa: E402
from tests.support.slurm import slurm  # noqa: E402
from tests.support.training import digits, setup  # noqa: E402

PAUSE = (
    4.0  # seconds between two disturbances: a worker takes two or three to start, and one killed sooner trains nothing
)


class Sweep:
    """A sweep in a folder of its own."""

    def __init__(self, folder: Path, prepared: Path, words: list[str]) -> None:
        self.folder, self.words, self.prefix = folder, words, [sys.executable, "-m"]
        shutil.copytree(prepared, folder / "data" / "prepared")
        shutil.copy(ROOT / "params.yaml", folder)

    def start(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            command = [*self.prefix, "src.sweep", *self.words]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def table(self) -> bytes:
        return (self.folder / "outputs" / "sweep" / "mlp" / "trials.csv").read_bytes()


def run(row: str, sweep: Sweep, folder: Path) -> int:
    """Run one row of the table to its end, and return how many kills it has survived."""
    if row == "local":
        assert sweep.start().wait() == 0
        return 0
    if row == "mpi":
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        sweep.prefix = ["mpirun", *root, "--oversubscribe", "-n", "3", sys.executable, "-m", "mpi4py.futures", "-m"]
        sweep.words += ["executor=mpi"]
        assert sweep.start().wait() == 0
        return 0
    if row == "slurm":
        sweep.prefix = ["salloc", "-n", "3", sys.executable, "-m"]
        sweep.words += ["executor=slurm"]
        with slurm(folder / "slurm") as cluster:
            os.environ |= cluster.environment
            assert sweep.start().wait() == 0
        return 0
    scheduler = Scheduler(folder, hidden=sweep.folder)
    try:
        for _ in range(int(row[4:]) if row.startswith("dask") else 2):
            scheduler.add_worker()
        sweep.words += ["executor=dask", f"executor.address={scheduler.address}"]
        return disturbed(sweep, DISTURBANCES.get(row, lambda *_: None), scheduler)
    finally:
        scheduler.stop()


def disturbed(sweep: Sweep, disturb: Callable[[Scheduler, Any, int], Any], scheduler: Scheduler) -> int:
    """Run a sweep on Dask, disturbed every few seconds, started again where it was killed itself."""
    kills, looks, process = 0, 0, sweep.start()
    while True:
        try:
            code = process.wait(PAUSE)
        except subprocess.TimeoutExpired:
            kills += bool(disturb(scheduler, process, looks))
            looks += 1
            continue
        if code == 0:
            return kills
        assert code == -signal.SIGKILL, (sweep.folder / "log").read_text()
        process = sweep.start()


def kill_worker(scheduler: Scheduler, _: Any, looks: int) -> bool:
    oldest = scheduler.workers[looks]
    oldest.kill()
    scheduler.add_worker()
    return True


def restart_scheduler(scheduler: Scheduler, _: Any, looks: int) -> bool:
    if looks == 1:  # the workers of a scheduler that is gone end themselves
        scheduler.process.kill()
        scheduler.process.wait()
        scheduler.start()
        for _ in range(2):
            scheduler.add_worker()
    return looks == 1


def kill_driver(_: Scheduler, process: Any, looks: int) -> bool:
    if looks in (1, 3):
        process.kill()
    return looks in (1, 3)


DISTURBANCES = {"killed": kill_worker, "restarted": restart_scheduler, "driver": kill_driver}


def overhead(folder: Path, segments: int = 200) -> dict[str, float]:
    """Milliseconds from handing a segment over until its outcome is there, for one that has nothing to train."""
    bench = setup(digits(), folder)
    task = Task("t", member(0), 1, None, folder / "t.safetensors")
    train([task], bench)
    starts: dict[str, Callable[[], Executor]] = {"local": lambda: pool(1)}
    for name in ("dask", "slurm")[: 2 if "SLURM_JOB_ID" in os.environ else 1]:
        starts[name] = starter({"executor": {"name": name}, "workers": 1, "store": {"url": None}})
    return {name: latency(start(), [task], bench, segments) for name, start in starts.items()}


def latency(executor: Executor, tasks: list[Task], bench: WorkerSetup, segments: int) -> float:
    for _ in range(10):
        executor.submit(train, tasks, bench).result()
    began = time.perf_counter()
    for _ in range(segments):
        executor.submit(train, tasks, bench).result()
    took = time.perf_counter() - began
    executor.shutdown(cancel_futures=True)
    return 1000 * took / segments


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--search", nargs="*", default=["asha", "gp"])
    parser.add_argument(
        "--rows", nargs="*", default=["local", "dask1", "dask2", "dask4", "mpi", "slurm", *DISTURBANCES]
    )
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "executors.jsonl")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with args.out.open("a") as file:
            if not args.rows:
                print(json.dumps({"overhead_ms": overhead(folder)}), file=file, flush=True)
                return
            raw = folder / "prepare"
            raw.mkdir()
            shutil.copy(ROOT / "params.yaml", raw)
            command = [sys.executable, "-m", "src.prepare", "data=digits"]
            subprocess.run(command, cwd=raw, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
            for search in args.search:
                local = b""
                for row in args.rows:
                    place = folder / search / row
                    (place / "dask").mkdir(parents=True)
                    (place / "driver").mkdir()
                    words = [f"search={search}", f"n_trials={args.trials}", "epochs=9", "workers=2"]
                    sweep = Sweep(place / "driver", raw / "data" / "prepared", words)
                    began = time.monotonic()
                    disturbances = run(row, sweep, place / "dask")
                    local = local or sweep.table()
                    seconds = round(time.monotonic() - began, 1)
                    line = {"search": search, "row": row, "seconds": seconds, "disturbances": disturbances}
                    print(json.dumps(line | {"same_bytes": sweep.table() == local}), file=file, flush=True)


if __name__ == "__main__":
    main()
