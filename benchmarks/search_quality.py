"""What a search finds for its epochs: every strategy of conf/search and the peers, on tasks whose answers are known.

    python benchmarks/search_quality.py                        # goes on where it was stopped
    python benchmarks/search_quality.py --quick
    python benchmarks/search_quality.py --strategies tpe 'tpe pruner=none slots=4' 'smac bo' --tasks fcnet lcbench/3945

Ours run as a sweep does: the same search, history and timetable, in virtual time, with as many slots as a sweep has, and
with as many trials as use the budget up. The budget is 100 full trainings, in epochs; all count the same epochs. Each
run is one line of `results/search_quality.jsonl`; what stands there is not run again. Tables and pictures (`ranking.py`)
are written at the end, or with --report alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
    os.environ.setdefault(variable, "1")  # one thread a process, set before any of them is loaded
os.environ.setdefault("PYTHONHASHSEED", "0")  # for the processes: ConfigSpace orders by the hashes of names
for variable in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.setdefault(variable, str(2**30))  # keep memory: each tree of SMAC's forest asks for 2 million nodes
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402

from benchmarks import ranking, tables  # noqa: E402
from benchmarks.peers import PEERS, SLOW  # noqa: E402
from src.config.components import make  # noqa: E402
from src.search.protocol import Spec  # noqa: E402
from src.study.history import History  # noqa: E402
from src.study.timetable import Timetable  # noqa: E402
from src.system.errors import UserError  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
FULL_TRAININGS = 100
FEW_SLOTS, MOST_SLOTS = 4, 1024  # as in src/sweeps/loop.py
MOST_TRIALS = 5000
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
NOT_ON_TABLES = {
    "pbt": "a table does not know weights that change hands",
    "grow": "the same",
    "replay": "needs the study that it replays",
}


def main() -> None:
    """Run what is missing, then write the tables and pictures."""
    args = _arguments()
    folder = tables.data_folder()
    if folder is None:
        print("no tables: neither $LOCKSTEP_DATA/hpo nor ../shared/data/hpo is there; only bbob runs")
    chosen = [name for name in tables.names(folder) if any(name.startswith(prefix) for prefix in args.tasks)]
    strategies = args.strategies or [*_ours(), *PEERS]
    done = {_key(record) for record in _records(args.results)}
    jobs = [
        (strategy, task, seed)
        for seed in range(args.seeds)
        for strategy in strategies
        for task in chosen
        if (strategy, task, seed) not in done
    ]
    if not args.report and jobs:
        _run(jobs, args)
    ranking.write(list(_records(args.results)), args.results.with_suffix(""), FULL_TRAININGS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", help="names of conf/search, with key=value if you like, and peers")
    parser.add_argument("--tasks", nargs="+", default=[""], help="prefixes of task names")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf, help="start nothing after so many")
    parser.add_argument("--results", type=Path, default=RESULTS / "search_quality.jsonl")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument(
        "--quick", action="store_true", help="one table of each kind, 2 seeds, no slow peers, own results"
    )
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.tasks = 2, ["lcbench/3945", "fcnet/protein", "nasbench201", "bbob/sphere-5"]
        args.strategies = args.strategies or [s for s in (*_ours(), *PEERS) if s not in SLOW]
        args.results = args.results.with_stem(f"{args.results.stem}_quick")
    return args


def _ours() -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / "search").glob("*.yaml"))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from (json.loads(line) for line in path.read_text().splitlines() if line.endswith("}"))


def _key(record: dict[str, Any]) -> tuple[str, str, int]:
    return record["strategy"], record["task"], record["seed"]


def _run(jobs: Sequence[tuple[str, str, int]], args: argparse.Namespace) -> None:
    """All jobs on a few processes; each result is appended as soon as it is there."""
    args.results.parent.mkdir(parents=True, exist_ok=True)
    stop = time.monotonic() + 60 * args.minutes
    context = get_context("spawn")
    with ProcessPoolExecutor(args.processes, context, initializer=_begin) as pool:
        pending = {pool.submit(record, *job, stop) for job in jobs}
        with args.results.open("a") as file:
            for count, future in enumerate(as_completed(pending), 1):
                if result := future.result():
                    print(json.dumps(result), file=file, flush=True)
                    if count % 50 == 0 or "skipped" in result:
                        print(f"{count}/{len(jobs)} {_key(result)} {result.get('skipped', '')}", flush=True)


def _begin() -> None:
    """Leave the machine to others, and do not outlive the benchmark."""
    os.nice(19)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def record(strategy: str, task_name: str, seed: int, stop: float = math.inf) -> dict[str, Any] | None:
    """One run: what it found after how many epochs, or why it does not apply."""
    if time.monotonic() > stop:
        return None
    task = tables.load(task_name)
    meter = tables.Meter(task, FULL_TRAININGS * task.epochs)
    found: dict[str, Any] = {"strategy": strategy, "task": task_name, "seed": seed}
    try:
        n_trials = 0 if strategy in PEERS else trials_needed(strategy, task_name)
        began = time.process_time()  # of this process: others may use the machine too
        if strategy in PEERS:
            PEERS[strategy](task, seed, meter)
        else:
            search(strategy, task, seed, meter, n_trials)
    except UserError as error:
        return {**found, "skipped": str(error)}
    except ImportError as error:
        return {**found, "skipped": f"not installed: {error}"}
    seconds = round(time.process_time() - began, 3)
    steps = [[epochs, float(f"{value:.7g}")] for epochs, value in meter.steps]
    found |= {"direction": task.direction, "epochs": task.epochs, "seconds": seconds, "trials": meter.trials}
    return {**found, "steps": steps}


# --- our own -----------------------------------------------------------------------------------------------------------


def search(strategy: str, task: tables.Task, seed: int, meter: tables.Meter, n_trials: int) -> None:
    """A sweep without training: `Sweep.run` of src/sweep.py in virtual time."""
    section, slots = parse(strategy)
    spec = Spec(task.space, task.direction, n_trials, task.epochs, seed)
    chosen = make("search", section, spec)
    history = History(task.direction)
    slots = slots or (FEW_SLOTS if chosen.depends_on_results else min(n_trials, MOST_SLOTS))
    timetable = Timetable(history, slots)
    fill = partial(_fill, chosen, history, timetable, task)
    fill()
    while (segment := timetable.next) and not meter.empty:
        trial = history.trials[segment.trial]
        values = meter.train(trial.number, trial.params, segment.stop)[segment.start :]
        over = segment.stop == trial.target
        history.report(
            trial.number, values, "complete" if segment.stop == trial.max_epochs else "paused" if over else "running"
        )
        timetable.sync()
        fill()


def _fill(chosen: Any, history: History, timetable: Timetable, task: tables.Task) -> None:
    while timetable.free and (proposals := chosen.propose(history, timetable.free)):
        for proposal in proposals:
            if proposal.trial is not None and proposal.epochs <= history.trials[proposal.trial].epochs:
                history.report(proposal.trial, [], "pruned")
            else:
                history.start(proposal, task.epochs, task.curve(proposal.params)[1])
        timetable.sync()


def parse(strategy: str) -> tuple[dict[str, Any], int]:
    """A strategy such as `tpe pruner=none slots=4`: its section as in conf/search, and the slots if given."""
    name, *changes = strategy.split()
    if name in NOT_ON_TABLES:
        raise UserError(f"search={name}: {NOT_ON_TABLES[name]}")
    section = dict(yaml.safe_load((ROOT / "conf" / "search" / f"{name}.yaml").read_text())["search"])
    section |= {key: yaml.safe_load(value) for key, _, value in (change.partition("=") for change in changes)}
    return section, int(section.pop("slots", 0))


@lru_cache
def trials_needed(strategy: str, task_name: str) -> int:
    """The trials that use the budget up, found with seed 0: a strategy that stops trials early gets more of them."""
    task, n_trials = tables.load(task_name), FULL_TRAININGS
    for _ in range(4):
        meter = tables.Meter(task, FULL_TRAININGS * task.epochs)
        search(strategy, task, 0, meter, n_trials)
        if meter.empty or n_trials == MOST_TRIALS:
            break
        n_trials = min(MOST_TRIALS, math.ceil(n_trials * min(8.0, 1.1 * meter.budget / meter.spent)))
    return n_trials


if __name__ == "__main__":
    main()
