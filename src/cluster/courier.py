"""An executor that brings segments to the workers of a cluster, and home what these have made."""

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from src.cluster.data_transfer import contents, describe, upload
from src.cluster.delivery import code, module_digests
from src.cluster.job import run
from src.cluster.parcel import Delivery, Parcel, files_to_send, relocated
from src.cluster.protocol import Cluster
from src.engine.elastic import ElasticExecutor
from src.engine.task import Outcome, Task, WorkerSetup
from src.system.errors import UserError, first_line
from src.system.files import write_bytes
from src.system.store import Store

T = TypeVar("T")
Packed = bytes | dict[Path, bytes]  # as the job returns it
COUNTED = 1.0  # seconds for which a number of workers is believed


class Courier(ElasticExecutor):
    """An executor that runs the engine's jobs on workers that need no disk in common with this process.

    A job takes along what it begins from; the checkpoints that it made are here before its outcomes are. So whoever asks the
    engine sees what local workers would have left.
    """

    def __init__(self, cluster: Cluster, store: Store | None = None) -> None:
        """Begin to use a cluster.

        Args:
            cluster: trains.
            store: brings prepared data to workers that lack them; None: they travel with the first jobs.
        """
        self._cluster, self._store = cluster, store
        self._lost: tuple[type[BaseException], ...] = (CancelledError, BrokenExecutor, *cluster.lost)
        self._desk = ThreadPoolExecutor(1)  # opens what comes back: writing files holds up no network
        self._uploaded: set[str] = set()
        self._counted, self._workers = 0.0, 0
        self._jobs: WeakKeyDictionary[Future[Any], Future[Packed]] = WeakKeyDictionary()  # of the cluster, by ours

    @property
    def workers(self) -> int:
        """The number of workers that are there now."""
        if time.monotonic() > self._counted + COUNTED:
            with suppress(*self._lost):
                self._workers = self._cluster.count()
            self._counted = time.monotonic()
        return self._workers

    def worker(self, job: Future[Any]) -> str:
        """Return the name of the worker that has a job; "" where that is not known."""
        inner = self._jobs.get(job)
        try:
            return self._cluster.worker(inner) if inner else ""
        except self._lost:
            return ""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Send a group of tasks away; `fn` is the `train` of a worker, and is not needed for it.

        Args:
            fn: `train`.
            args: the tasks and the setup.
            kwargs: none.

        Raises:
            BrokenExecutor: the cluster is gone.
        """
        tasks, setup = args
        outer: Future[Any] = Future()
        self._send(tasks, self._pack(tasks, setup), outer)
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; what it still trains is of no use.

        Args:
            wait: whether to wait for what was sent.
            cancel_futures: whether to ask the cluster to forget it.
        """
        with suppress(Exception):  # of a cluster that is gone already
            self._cluster.pool.shutdown(wait=wait and not cancel_futures)
        with suppress(Exception):
            self._cluster.close()
        self._desk.shutdown(wait=False, cancel_futures=True)

    def _pack(self, tasks: Sequence[Task], setup: WorkerSetup) -> Parcel:
        data = describe(setup.data)
        if self._store and data.key not in self._uploaded:
            upload(data, self._store)
            self._uploaded.add(data.key)
        files = {_portable(path): content for path, content in files_to_send(tasks).items()}
        moved = [relocated(task, _portable) for task in tasks]
        absolute = replace(data, folder=data.folder.absolute())
        url = self._store.url if self._store else None
        modules = module_digests([task.member.config.to_json() for task in tasks])
        return Parcel(moved, replace(setup, data=absolute.folder), files, absolute, url, modules)

    def _send(self, tasks: Sequence[Task], parcel: Parcel, outer: Future[Any]) -> None:
        try:
            inner = self._cluster.pool.submit(run, code(), pickle.dumps(parcel))
        except self._lost as error:
            raise BrokenExecutor(first_line(error)) from error
        self._jobs[outer] = inner
        outer.add_done_callback(lambda _: inner.cancel() if outer.cancelled() else None)

        def arrive(_: Future[Packed]) -> None:
            with suppress(RuntimeError):  # this process has left the cluster
                self._desk.submit(self._receive, tasks, parcel, inner, outer)

        inner.add_done_callback(arrive)

    def _receive(self, tasks: Sequence[Task], parcel: Parcel, inner: Future[Packed], outer: Future[Any]) -> None:
        """Open what came back, or send the job again with the data that the worker lacks."""
        try:
            delivery = self._delivered(tasks, inner)
            if delivery.lacks_data and not outer.cancelled():
                self._send(tasks, replace(parcel, contents=contents(parcel.data)), outer)
            elif outer.set_running_or_notify_cancel():
                _write(tasks, delivery.files)
                for task in tasks:
                    task.part.unlink(missing_ok=True)
                outer.set_result(_with_times_of_this_machine(delivery))
        except Exception as error:
            if not outer.cancelled():
                outer.set_exception(error)

    def _delivered(self, tasks: Sequence[Task], inner: Future[Packed]) -> Delivery:
        """Return what a job has left.

        Raises:
            BrokenExecutor: its worker is gone.
            UserError: the worker is not fit for it.
        """
        try:
            packed = inner.result()
        except self._lost as error:
            raise BrokenExecutor(f"the worker is gone ({first_line(error)})") from error
        except ModuleNotFoundError as error:
            raise UserError(
                f"executor: a worker cannot import {error.name}; start it in the folder of the project, with its packages"
            ) from error
        except Exception as error:
            raise UserError(f"executor: a worker failed before it could train ({first_line(error)})") from error
        if isinstance(packed, dict):
            _write(tasks, packed)
            raise BrokenExecutor("the process that trained died")
        delivery: Delivery = pickle.loads(packed)
        if delivery.refusal:
            raise UserError(delivery.refusal)
        return delivery


def _write(tasks: Sequence[Task], files: Mapping[Path, bytes]) -> None:
    """Write what belongs to the tasks at their own paths: checkpoints, those in between, notes of a time limit."""
    homes = {_portable(path): path for task in tasks for path in (task.checkpoint, task.part, task.timeout_note)}
    for path in homes.keys() & files.keys():
        write_bytes(homes[path], files[path])


def _with_times_of_this_machine(delivery: Delivery) -> list[Outcome]:
    shift = time.monotonic() - delivery.clock
    return [replace(o, began=o.began + shift, ended=o.ended + shift) if o.ended else o for o in delivery.outcomes]


def _portable(path: Path) -> Path:
    """Return a path below a folder that a worker chooses, another one for every path here."""
    return Path(*path.absolute().parts[1:])
