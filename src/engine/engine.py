"""The engine: waiting segments packed into populations, and trained on the workers of an executor."""

import multiprocessing
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

from src.engine import PRELOAD
from src.engine.processes import last_words, start
from src.engine.task import Outcome, Task, WorkerSetup
from src.engine.worker import train
from src.system.cores import n_workers

MAX_MEMBERS = 32  # members of a population; more are no faster
DEATHS_BEFORE_ISOLATION = 2  # deaths of its worker within one epoch after which a task is tried alone
MAX_DEATHS = 8  # and after which it has failed: one that is killed from outside gets on in between


class Engine:
    """Training of tasks, whose outcomes are asked for by key, in any order. No bit depends on which share a population."""

    def __init__(
        self, setup: WorkerSetup, workers: int | Literal["auto"] = "auto", executor: Executor | None = None
    ) -> None:
        """Start the workers.

        Args:
            setup: the data and the device of every worker.
            workers: how many processes; auto: one a core.
            executor: runs the tasks in place of processes of the engine's own, and is left running at the end.
        """
        self.setup = setup
        self.workers = n_workers(workers)
        self.outcomes: list[Outcome] = []
        self._owns_pool = executor is None
        self._executor = executor or self._pool()
        self._waiting: dict[str, Task] = {}
        self._running: dict[Future[list[Outcome]], list[Task]] = {}
        self._done: dict[str, Outcome] = {}
        self._deaths: dict[tuple[str, int], int] = {}  # of a task, at an epoch

    def submit(self, tasks: Iterable[Task]) -> None:
        """Let tasks wait for a worker; those submitted first are trained first."""
        self._waiting |= {task.key: task for task in tasks}
        self._dispatch()

    def result(self, key: str, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome of a task, once there; None if `timeout_s` seconds have passed before."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while key not in self._done:
            left = None if end is None else max(0.0, end - time.monotonic())
            if left == 0.0 or not self._running:
                return None
            wait(self._running, timeout=left, return_when=FIRST_COMPLETED)
            self._collect()
        return self._done.pop(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let the workers go; after an error without letting them finish."""
        if not self._owns_pool:
            return
        processes = dict(getattr(self._executor, "_processes", None) or {})
        self._executor.shutdown(wait=kind is None, cancel_futures=True)
        for process in processes.values():
            if kind is not None:
                process.kill()

    def busy(self) -> float:
        """Return the share of the workers' time, between the first and the last segment, that was spent in training."""
        spans = {(o.began, o.ended) for o in self.outcomes}
        if not spans:
            return 0.0
        length = max(e for _, e in spans) - min(b for b, _ in spans)
        return sum(e - b for b, e in spans) / (length * self.workers)

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOAD))
        return ProcessPoolExecutor(self.workers, context, start)

    def _dispatch(self) -> None:
        """Keep every worker busy and one job ahead; but let a suspect run alone, so that a death is its own."""
        while self._waiting and len(self._running) <= self.workers:
            group = self._pack()
            suspects = [task for tasks in (group, *self._running.values()) for task in tasks if self._suspect(task)]
            if suspects and self._running:
                break
            for task in group:
                del self._waiting[task.key]
            try:
                self._running[self._executor.submit(train, group, self.setup)] = group
            except (BrokenProcessPool, EOFError, ConnectionError):  # the last two: the forkserver itself is gone
                self._waiting = {task.key: task for task in group} | self._waiting
                self._replace_pool()

    def _pack(self) -> list[Task]:
        """Choose the first waiting task, with others of its signature: at most a worker's share of all that waits.

        One that is saved each epoch goes alone: its worker may not live long enough to try whether members can be fused.
        """
        first = next(iter(self._waiting.values()))
        if first.checkpoint_each_epoch:
            return [first]
        signature = first.member.signature()
        alike = [t for t in self._waiting.values() if t.member.signature() == signature and not t.checkpoint_each_epoch]
        return alike[: min(MAX_MEMBERS, -(-len(self._waiting) // self.workers))]

    def _suspect(self, task: Task) -> bool:
        return (
            task.checkpoint_each_epoch
            and self._deaths.get((task.key, task.epochs_done()), 0) >= DEATHS_BEFORE_ISOLATION
        )

    def _collect(self) -> None:
        for future in [f for f in self._running if f.done()]:
            group = self._running.pop(future)
            try:
                outcomes = future.result()
            except BrokenProcessPool:
                self._take_back(group)
                continue
            self.outcomes += outcomes
            self._done |= {outcome.key: outcome for outcome in outcomes}
        self._dispatch()

    def _take_back(self, group: list[Task]) -> None:
        """Let a group wait again whose worker, or another of its pool, has died; a task whose time was over has failed."""
        if len(group) == 1 and (text := last_words(group[0].timeout_note)):
            error = f"it took more than trial.timeout={self.setup.timeout:g} s, and did not end when it was told to"
            self._done[group[0].key] = Outcome(group[0].key, 0, {}, 0.0, error, text, "trial.timeout")
            return
        self._waiting = {task.key: replace(task, checkpoint_each_epoch=True) for task in group} | self._waiting
        for task in group:
            self._count_death(task)

    def _count_death(self, task: Task) -> None:
        """Note that the pool died while `task` was in flight; all tasks in flight come back so, and one is the cause."""
        place = task.key, task.epochs_done()
        self._deaths[place] = self._deaths.get(place, 0) + 1
        if self._deaths[place] >= MAX_DEATHS:
            del self._waiting[task.key]
            self._done[task.key] = Outcome(task.key, 0, {}, 0.0, "its worker died (out of memory?)")

    def _replace_pool(self) -> None:
        """Start new workers after one has died, and its pool with it: all that is in flight comes back as broken."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._pool()
