"""A sweep goes on where its driver did not die: on a machine that has neither its folders nor its checkpoints."""

import shutil
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from src.system.store import Store
from tests.support.dask_workers import scheduler
from tests.support.postgres import Server
from tests.support.running import Place, kill, wait_until

pytestmark = pytest.mark.usefixtures("no_connection_stays")
WORDS = (
    "n_trials=16",
    "epochs=9",
    "search=asha",
    "search.eta=3",
    "slots=2",
    "objective.candidates=1",
    "tracking.uri=sqlite:///mlflow.db",
)


def machine(folder: Path, prepared: Path) -> Place:
    """A clone with folders of its own, the prepared data too."""
    place = Place(folder)
    shutil.copytree(prepared, folder / "data" / "prepared")
    return place


def checkpoints(place: Place) -> set[str]:
    return {path.name for path in place.folder.glob(".lockstep/studies/*/checkpoints/*.safetensors")}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_driver_killed_twice_goes_on_elsewhere(tmp_path: Path, prepared: Path, postgres: Server, s3: str) -> None:
    """With PostgreSQL, a store of S3's protocol and Dask, on three machines; the first two are gone with their folders."""
    local = Place(tmp_path / "local", prepared)
    local.run(*WORDS, "workers=2")

    url = postgres.fresh()
    storage, machines = RDBStorage(url), tmp_path / "machines"
    machines.mkdir()

    def complete() -> int:
        trials = [t for study in storage.get_all_studies() for t in storage.get_all_trials(study._study_id)]
        return sum(trial.state.name == "COMPLETE" for trial in trials)

    with scheduler(tmp_path / "dask", workers=1, hidden=machines) as dask:
        words = (*WORDS, "executor=dask", f"executor.address={dask.address}", f"storage={url}", f"store.url={s3}")
        first = machine(machines / "first", prepared)
        process = first.start(*words)
        assert wait_until(lambda: complete() >= 1, process), process.communicate()
        kill(process)
        there = checkpoints(first)
        shutil.rmtree(first.folder, ignore_errors=True)
        for worker in dask.workers:
            worker.kill()

        second = machine(machines / "second", prepared)
        process = second.start(*words)
        assert wait_until(lambda: checkpoints(second) & there, process), (
            process.communicate()
        )  # no worker can train them
        refused = machine(machines / "another", prepared).run(*words, ok=False)
        assert "the sweep of digits-mlp is running already, on another machine" in refused.stderr
        done = complete()
        dask.add_worker()
        assert wait_until(lambda: complete() > done, process), process.communicate()
        kill(process)
        shutil.rmtree(second.folder, ignore_errors=True)

        third = machine(machines / "third", prepared)
        third.run(*words)
    for name in ("trials.csv", "best.yaml", "curves.csv"):
        assert (third.out / name).read_bytes() == (local.out / name).read_bytes()
    (folder,) = third.studies
    kept = {path.name: path.stat().st_size for path in (folder / "checkpoints").glob("*.safetensors")}
    assert kept == Store(s3).sizes(f"studies/{folder.name}"), "nothing that no trial needs stays there"
