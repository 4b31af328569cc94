"""Workers that share no disk with the driver leave what local ones would: outcomes, checkpoints, files in between."""

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.cluster import data_transfer
from src.cluster.courier import Courier
from src.cluster.data_transfer import CACHE, FILES, cache_folder, contents, describe, locate, upload
from src.cluster.delivery import code, deliver
from src.cluster.parcel import Delivery
from src.cluster.protocol import Cluster
from src.engine.engine import Engine
from src.engine.task import Task, WorkerSetup
from src.engine.worker import train
from src.system.errors import UserError
from src.system.store import Store
from tests.engine.test_engine import assert_alone, member, of_user, results, tasks
from tests.support.training import digits, setup


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerSetup:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return setup(digits(), tmp_path / "data")


@pytest.fixture
def threads() -> Iterator[Courier]:
    """A cluster of two threads of this process, each of which has a process that trains, as Dask's workers have."""
    courier = Courier(Cluster(ThreadPoolExecutor(2), lambda: 2))
    yield courier
    courier.shutdown()


def test_segments_travel_with_what_they_begin_from(bench: WorkerSetup, tmp_path: Path, threads: Courier) -> None:
    """From the start, from a checkpoint, after a lineage, from a torn file, and where the result stands already."""
    here = tmp_path / "driver"
    first = tasks([member(0), member(1)], here, stop=1)
    train(first, bench)
    torn = here / "torn.safetensors"
    torn.write_bytes(first[0].checkpoint.read_bytes()[:-9])
    group = [
        Task("fresh", member(2), 3, None, here / "fresh.safetensors"),
        Task("further", member(0), 3, first[0].checkpoint, here / "further.safetensors"),
        Task("child", member(1), 3, None, here / "child.safetensors", lineage=(first[1],)),
        Task("torn", member(0), 3, torn, here / "torn-3.safetensors"),
        first[0],
    ]
    with Engine(bench, "auto", threads) as engine:
        engine.submit(group)
        outcomes = results(engine, group)
        assert 0 < engine.busy() <= 1, "times are those of the driver's clock"
    for task in group:
        assert_alone(task, outcomes[task.key])
    assert outcomes["t0"].seconds == 0
    assert not list(Path("/tmp").glob(f"lockstep-*/{first[0].checkpoint.relative_to('/')}"))


def test_what_a_dead_process_has_left_comes_home(bench: WorkerSetup, tmp_path: Path, threads: Courier) -> None:
    deadly = of_user("Deadly", 1, log=str(tmp_path / "deaths"), times=2, at=30)
    group = tasks([deadly, member(0)], tmp_path / "driver", stop=8)
    with Engine(bench, "auto", threads) as engine:
        engine.submit(group)
        outcomes = results(engine, group)
    assert (tmp_path / "deaths").read_text() == "xx"
    for task in group:
        assert_alone(task, outcomes[task.key])
    assert not [path for path in (tmp_path / "driver").iterdir() if path.suffix != ".safetensors"]


class FirstHangs(Executor):
    """Threads, of which the one with the first job waits for long before it begins."""

    def __init__(self) -> None:
        self.pool, self.first, self.go_on = ThreadPoolExecutor(2), True, threading.Event()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        hangs, self.first = self.first, False
        return self.pool.submit(lambda: (hangs and self.go_on.wait(60), fn(*args, **kwargs))[1])


def test_what_hangs_is_trained_by_another_worker(bench: WorkerSetup, tmp_path: Path) -> None:
    executor = FirstHangs()
    group = tasks([member(0)], tmp_path / "driver")
    with Engine(bench, 2, executor, patience=0.1) as engine:
        engine.submit(group)
        outcome = engine.result("t0", timeout_s=50)
        assert not executor.go_on.is_set()
        assert outcome is not None
        assert_alone(group[0], outcome)
        executor.go_on.set()
        executor.pool.shutdown()
        assert engine.result("t0", timeout_s=0.1) is None, "the slower twin's is of no use"


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_come_from_the_shared_folder_the_cache_the_store_or_the_job(bench: WorkerSetup, tmp_path: Path) -> None:
    data, elsewhere = describe(bench.data), tmp_path / "elsewhere"
    found = locate(data, None, None)
    assert found is not None
    assert found.resolve() == bench.data.resolve()
    found.unlink()

    away = replace(data, folder=elsewhere)
    assert locate(away, None, None) is None
    cached = locate(away, None, contents(data))
    assert cached == cache_folder() / data.key == locate(away, None, None)
    assert not (cached / "x_test.npy").exists(), "the test rows stay where they are"
    (cached / "x_val.npy").write_bytes(b"torn")
    assert locate(away, None, None) is None

    upload(data, store := Store(str(tmp_path / "store")))
    assert locate(away, store.url, None) == cached
    assert [(cached / name).read_bytes() == (bench.data / name).read_bytes() for name in FILES] == [True] * len(FILES)
    store.write(f"data/{data.key}/x_val.npy", b"another")
    (cached / "x_val.npy").unlink()
    assert locate(away, store.url, None) is None, "what the store has is verified too"


def test_other_data_under_the_same_path_are_other_data(bench: WorkerSetup) -> None:
    """A worker that stays remembers data by their folder."""
    before = locate(describe(bench.data), None, None)
    labels = bench.data / "y_train.npy"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\1")
    after = locate(describe(bench.data), None, None)
    assert before is not None
    assert after is not None
    assert before != after


def test_large_data_ask_for_a_store(bench: WorkerSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_transfer, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="do not travel with a job; name a store"):
        contents(describe(bench.data))


# --- workers that are not fit for it ---------------------------------------------------------------------------------


def answer(driver_code: Any, packed: bytes) -> Delivery:
    delivery: Delivery = pickle.loads(deliver(driver_code, packed, Path()))
    return delivery


def test_a_worker_with_other_code_or_packages_is_refused() -> None:
    other = tuple((name, "0" if name == "torch" else digest) for name, digest in code())
    assert "has torch" in answer(other, b"").refusal
    other = tuple((name, "0" if name.endswith("worker.py") else digest) for name, digest in code())
    assert "another src/engine/worker.py; start it from the code that the driver has" in answer(other, b"").refusal


def test_a_worker_with_another_model_of_the_person_is_refused(
    bench: WorkerSetup, tmp_path: Path, threads: Courier
) -> None:
    parcel = threads._pack(tasks([of_user("Plain")], tmp_path), bench)
    assert list(parcel.modules) == ["tests.support.zoo"]
    wrong = replace(parcel, modules={"tests.support.zoo": "0"})
    assert "another tests.support.zoo" in answer(code(), pickle.dumps(wrong)).refusal
    gone = replace(parcel, modules={"not_there.at_all": "0"})
    assert "another not_there.at_all, or none" in answer(code(), pickle.dumps(gone)).refusal


def test_a_worker_without_the_project_is_said_in_a_sentence(bench: WorkerSetup, tmp_path: Path) -> None:
    class Elsewhere(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(__import__, "src_that_is_not_there")

    courier = Courier(Cluster(Elsewhere(1), lambda: 1))
    with Engine(bench, 1, courier) as engine:
        engine.submit(tasks([member(0)], tmp_path))
        with pytest.raises(UserError, match="a worker cannot import src_that_is_not_there; start it in the folder"):
            engine.result("t0")
    courier.shutdown()
