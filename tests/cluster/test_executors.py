"""Every executor of `conf/executor` trains what local processes do; what is missing is said in a sentence."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from src.cluster.courier import Courier
from src.cluster.opening import starter
from src.config.compose import CONF, with_force_add
from src.config.loading import Config
from src.config.loading import load as load_words
from src.engine import engine as engine_module
from src.engine.engine import Engine
from src.engine.task import WorkerSetup
from src.system.errors import UserError
from tests.engine.test_engine import assert_alone, member, mixed, results, tasks
from tests.support.dask_workers import Scheduler, scheduler
from tests.support.running import ROOT, Place
from tests.support.slurm import obstacle, slurm
from tests.support.training import digits, setup
from tests.tracking.test_server import talking


def load(words: list[str]) -> Config:
    return load_words([with_force_add(word) for word in words])


def config(name: str, **keys: Any) -> dict[str, Any]:
    return {"executor": {"name": name, **keys}, "workers": 2, "store": {"url": None}}


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    with scheduler(tmp_path_factory.mktemp("dask"), workers=2) as here:
        yield here


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerSetup:
    """Data and a folder by paths that lead, in another process, to its own working directory: to nothing."""
    setup(digits(), tmp_path)
    monkeypatch.chdir(tmp_path)
    return WorkerSetup(Path("/proc/self/cwd"), "cpu", ("tests",))


def test_workers_of_dask_without_a_shared_disk_come_and_go(bench: WorkerSetup, dask: Scheduler) -> None:
    """All kinds of groups; then the only worker left is killed while it trains, and another takes its place."""
    here = Path("/proc/self/cwd/checkpoints")
    group = tasks(mixed(), here)
    with Engine(bench, 2, starter(config("dask", address=str(dask.file)))) as engine:
        engine.submit(group)
        outcomes = results(engine, group)
        assert engine.workers == 2
        for task in group[:-1]:
            assert_alone(task, outcomes[task.key])
        assert outcomes["t11"].error.text == "diverged"
        caches = [folder for worker in (0, 1) for folder in (dask.folder / f"worker{worker}" / "cache").iterdir()]
        assert len(caches) == 2
        assert not any(folder.is_symlink() for folder in caches), "the data came with the jobs"

        (last,) = tasks([member(3)], here / "last", stop=120)
        engine.submit([last])
        assert engine.result("t0", timeout_s=0.5) is None
        for worker in dask.workers:
            worker.kill()
        dask.add_worker()
        outcome = engine.result("t0", timeout_s=120)
        assert outcome is not None
        assert_alone(last, outcome)


def test_a_worker_that_hangs_is_named_and_another_trains_its_segment(
    bench: WorkerSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in mid-training with all its processes, as on a machine that swaps; the other comes later."""
    monkeypatch.setattr(engine_module, "SLOW", 0.5)
    (task,) = tasks([member(3)], Path("/proc/self/cwd/checkpoints"), stop=500)
    with scheduler(tmp_path / "dask", workers=1) as dask:
        words = config("dask", address=str(dask.file))
        with Engine(bench, 2, starter(words), patience=1.0) as engine:
            engine.submit([task])
            while not (load := engine.load()) or not (load.workers and load.worker):
                assert engine.result("t0", timeout_s=0.5) is None
            assert (load.workers, load.waiting, load.oldest) == (1, 0, "t0")
            assert load.worker.startswith("tcp://127.0.0.1:")
            dask.freeze(0)
            dask.add_worker()
            outcome = engine.result("t0", timeout_s=120)
            assert outcome is not None
            assert_alone(task, outcome)


WORDS = ("n_trials=6", "epochs=3", "search=asha", "search.eta=3", "tracking.uri=sqlite:///mlflow.db", "workers=2")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Place:
    place = Place(tmp_path_factory.mktemp("local"), prepared)
    place.run(*WORDS)
    return place


def assert_same_sweep(place: Place, local: Place) -> None:
    for name in ("trials.csv", "best.yaml", "curves.csv"):
        assert (place.out / name).read_bytes() == (local.out / name).read_bytes()


@pytest.mark.slow
def test_a_sweep_on_dask_has_the_bytes_of_a_local_one(tmp_path: Path, prepared: Path, local: Place) -> None:
    place = Place(tmp_path / "dask", prepared, cold=True)  # Dask starts its workers by the command line of the driver
    place.run(*WORDS, "executor=dask")
    assert_same_sweep(place, local)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mpirun"), reason="there is no MPI (apt-get install openmpi-bin)")
def test_a_sweep_on_mpi_has_the_bytes_of_a_local_one(tmp_path: Path, prepared: Path, local: Place) -> None:
    place = Place(tmp_path / "mpi", prepared)
    mpirun = [
        "mpirun",
        *["--allow-run-as-root"][: os.geteuid() == 0],
        "--oversubscribe",
        "-n",
        "3",
        sys.executable,
        "-m",
    ]
    command = [*mpirun, "mpi4py.futures", "-m", "src.sweep", *WORDS, "executor=mpi"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_sweep(place, local)


@pytest.mark.slow
@pytest.mark.skipif(bool(obstacle()), reason=obstacle())
def test_a_sweep_on_slurm_has_the_bytes_of_a_local_one(tmp_path: Path, prepared: Path, local: Place) -> None:
    place = Place(tmp_path / "driver", prepared)
    with slurm(tmp_path / "slurm") as cluster:
        command = ["salloc", "-n", "3", sys.executable, "-m", "src.sweep", *WORDS, "executor=slurm"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | cluster.environment
        done = subprocess.run(command, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_sweep(place, local)


def test_what_is_missing_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match="slurm trains in an allocation of Slurm, as of salloc -n 8 python"):
        starter(config("slurm"))()
    with pytest.raises(UserError, match=r"no scheduler of Dask answers at .*; start one with dask scheduler"):
        starter(config("dask", address=str(tmp_path / "none.json"), wait=0.1))()
    with pytest.raises(UserError, match=r"if you trust it, add trusted=\[dask_jobqueue\]"):
        starter(config("dask", cluster="dask_jobqueue.SLURMCluster"))()
    with pytest.raises(UserError, match=r"executor\.options: these are arguments of executor\.cluster"):
        starter(config("dask", options={"cores": 2}))()
    for name, module in {"dask": "distributed", "mpi": "mpi4py.futures", "slurm": "executorlib"}.items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=rf"executor: {name} needs pip install -e '\.\[{name}\]'"):
            starter(config(name))()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://{closed}", r"no scheduler of Dask answers at .* \((nothing answers there|no answer)\); start one"),
        ("tcp://no.such.host.invalid:8786", r"\((its host is not known|no answer)\); start one with dask scheduler"),
        ("tcp://{closing}", r"\(what takes the connection does not greet as a scheduler does\); start one"),
        ("{silent}", r"\(what takes the connection does not greet as a scheduler does\); start one"),
        ("http://{silent}", r"is no address of a scheduler \(unknown address scheme 'http'"),
        ("tls://{silent}", r"is no address of a scheduler \(TLS expects"),
        ("tcp://host:port", r"is no address of a scheduler \("),
        ("{folder}/torn.json", r"\(Expecting value"),
    ],
)
def test_an_address_that_is_no_scheduler(
    address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.cluster.executors.dask.ATTEMPT", 0.3)
    (tmp_path / "torn.json").write_text('{"address":')
    with socket.create_server(("127.0.0.1", 0)) as silent, talking(b"") as closing:
        with talking(b"") as closed:
            pass
        places = {"closed": closed, "closing": closing, "silent": f"127.0.0.1:{silent.getsockname()[1]}"}
        place = address.format(folder=tmp_path, **places)
        with pytest.raises(UserError, match=rf"^executor\.address: .*{words}"):
            starter(config("dask", address=place, wait=0.0))()


@pytest.fixture
def conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.usefixtures("conf")
def test_the_config_chooses_the_executor() -> None:
    chosen = load(["executor=dask", "executor.address=tcp://127.0.0.1:8786", "executor.patience=20"])
    assert chosen["executor"]["patience"] == 20
    with pytest.raises(UserError, match=r"executor: 'dusk' is none of dask, local, mpi, slurm"):
        load(["executor=dusk"])
    with pytest.raises(UserError, match=r"executor\.adress: no such key; did you mean executor\.address"):
        load(["executor=dask", "executor.adress=tcp://127.0.0.1:8786"])
    assert not isinstance(starter({**chosen.root, "executor": {"name": "local"}, "workers": 1})(), Courier)
