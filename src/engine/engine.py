"""The engine: waiting segments packed into populations, and trained on the workers of an executor."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import TracebackType
from typing import Literal, Self

from src.data.dataset import read_meta
from src.engine.elastic import ElasticExecutor, Load
from src.engine.processes import last_words, pool
from src.engine.task import Outcome, Task, WorkerSetup
from src.engine.worker import train
from src.system.cores import n_workers
from src.system.reason import Reason

MAX_MEMBERS = 32  # members of a population; more are no faster
MOST_ROWS = 2**25  # of all members of a population: each has the order of its rows in memory, 8 bytes a row
DEATHS_BEFORE_ISOLATION = 2  # deaths of its worker within one epoch after which a task is tried alone
MAX_DEATHS = 8  # and after which it has failed: one that is killed from outside gets on in between
SLOW = 60.0  # seconds from which it is asked which worker has a segment
LOOK = 1.0  # seconds after which it is looked again whether workers have come


@dataclass(frozen=True)
class Job:
    """Tasks that were handed to the executor together, and when; `spare`: while the same were in flight already."""

    tasks: list[Task]
    spare: bool = False
    since: float = field(default_factory=time.monotonic)


class Engine:
    """The engine that trains tasks, whose outcomes are asked for by key. No bit depends on which share a population."""

    def __init__(
        self,
        setup: WorkerSetup,
        workers: int | Literal["auto"] = "auto",
        executor: Executor | Callable[[], Executor] | None = None,
        patience: float | None = None,
    ) -> None:
        """Start the workers.

        Args:
            setup: the data and the device of every worker.
            workers: how many processes; auto: one a core.
            executor: runs the tasks in place of local processes, and is left running at the end; or what starts one, again
                when it breaks.
            patience: seconds after which what still trains is also given to a worker that has nothing to do; None: never.
        """
        self.setup, self.patience = setup, patience
        self.workers = n_workers(workers)
        self.outcomes: list[Outcome] = []
        self._owns_pool = not isinstance(executor, Executor)
        self._start = partial(pool, self.workers) if executor is None else executor
        self._executor = executor if isinstance(executor, Executor) else self._new_pool()
        self._waiting: dict[str, Task] = {}
        self._running: dict[Future[list[Outcome]], Job] = {}
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
            wait(self._running, timeout=LOOK if left is None else min(left, LOOK), return_when=FIRST_COMPLETED)
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

    def load(self) -> Load | None:
        """Return what there is to say of workers that come and go; None of local ones."""
        if not isinstance(self._executor, ElasticExecutor):
            return None
        futures = sorted(self._running, key=lambda future: self._running[future].since)
        waiting = sum(len(self._running[future].tasks) for future in futures[self.workers :])
        load = Load(self._executor.workers, len(self._waiting) + waiting)
        if not futures:
            return load
        job = self._running[futures[0]]
        seconds = time.monotonic() - job.since
        worker = self._executor.worker(futures[0]) if seconds > SLOW else ""
        return replace(load, oldest=job.tasks[0].key, seconds=seconds, worker=worker)

    def _new_pool(self) -> Executor:
        assert callable(self._start)
        return self._start()

    def _dispatch(self) -> None:
        """Keep every worker busy and one job ahead, elastic ones each; but let a suspect run alone in a pool that breaks.

        So a death is its own.
        """
        elastic = isinstance(self._executor, ElasticExecutor)
        if isinstance(self._executor, ElasticExecutor):
            self.workers = max(1, self._executor.workers)
        while self._waiting and len(self._running) < self.workers + (self.workers if elastic else 1):
            group = self._pack()
            suspects = [
                t for tasks in (group, *(j.tasks for j in self._running.values())) for t in tasks if self._suspect(t)
            ]
            if suspects and self._running and not elastic:
                break
            for task in group:
                del self._waiting[task.key]
            self._hand_over(Job(group))
        self._hand_over_again()

    def _hand_over(self, job: Job) -> None:
        try:
            self._running[self._executor.submit(train, job.tasks, self.setup)] = job
        except (BrokenExecutor, EOFError, ConnectionError):  # the last two: the forkserver itself is gone
            if not job.spare:
                self._waiting = {task.key: task for task in job.tasks} | self._waiting
            self._replace_pool()

    def _hand_over_again(self) -> None:
        """Give what has trained for longer than `patience` to workers that have nothing to do: theirs may hang."""
        if self.patience is None or self._waiting:
            return
        late = time.monotonic() - self.patience
        for job in list(self._running.values()):
            twins = [other for other in self._running.values() if other.tasks is job.tasks]
            if job.since < late and len(twins) == 1 and len(self._running) < self.workers:
                self._hand_over(Job(job.tasks, spare=True))

    def _pack(self) -> list[Task]:
        """Choose the first waiting task, with others of its signature: at most a worker's share of all that waits.

        One that is saved each epoch goes alone: its worker may not live long enough to try whether members can be fused.
        """
        first = next(iter(self._waiting.values()))
        if first.checkpoint_each_epoch:
            return [first]
        signature = first.member.signature()
        alike = [t for t in self._waiting.values() if t.member.signature() == signature and not t.checkpoint_each_epoch]
        return alike[: min(self._most_members, -(-len(self._waiting) // self.workers))]

    @cached_property
    def _most_members(self) -> int:
        """The most members that a population has, by the training rows."""
        return max(1, min(MAX_MEMBERS, MOST_ROWS // read_meta(self.setup.data).n_train))

    def _suspect(self, task: Task) -> bool:
        return (
            task.checkpoint_each_epoch
            and self._deaths.get((task.key, task.epochs_done()), 0) >= DEATHS_BEFORE_ISOLATION
        )

    def _collect(self) -> None:
        for future in [f for f in self._running if f.done()]:
            if (job := self._running.pop(future, None)) is None:
                continue  # its twin was faster
            twins = [f for f, other in self._running.items() if other.tasks is job.tasks]
            try:
                outcomes = future.result()
            except BrokenExecutor:
                if not twins:
                    self._take_back(job.tasks)
                continue
            for twin in twins:
                del self._running[twin]
                twin.cancel()
            self.outcomes += outcomes
            self._done |= {outcome.key: outcome for outcome in outcomes}
        self._dispatch()

    def _take_back(self, group: list[Task]) -> None:
        """Let a group wait again whose worker, or another of its pool, has died; a task whose time was over has failed."""
        if len(group) == 1 and (text := last_words(group[0].timeout_note)):
            words = f"it took more than trial.timeout={self.setup.timeout:g} s, and did not end when it was told to"
            error = Reason("trial.timeout", words)
            self._done[group[0].key] = Outcome(group[0].key, 0, {}, 0.0, error, text, error.kind)
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
            self._done[task.key] = Outcome(
                task.key, 0, {}, 0.0, Reason("worker died", "its worker died (out of memory?)")
            )

    def _replace_pool(self) -> None:
        """Start new workers after one has died, and its pool with it: all that is in flight comes back as broken."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._new_pool()
