"""Opening a sweep: what cannot be written at the end is found first, and a study that is left behind is named."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.study.identity import Identity
from src.study.left_behind import left_behind
from src.system.errors import UserError
from src.system.files import require_writable
from src.system.locks import exclusive
from tests.support.running import Place, end_all
from tests.support.stored import CODE, opened


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    end_all()


def other(**parts: str) -> Identity:
    return Identity("digits-mlp", "cd" * 32, CODE, parts)


def begun(folder: Path) -> str:
    """An unfinished study of seed 0."""
    return opened(folder, identity=Identity("digits-mlp", "ab" * 32, CODE, {"seed": "0", "space": "s"})).name


def test_an_unfinished_study_is_named_with_what_differs(tmp_path: Path) -> None:
    name = begun(tmp_path)
    note = left_behind(tmp_path, None, other(seed="1", space="s"))
    assert note == f"a new study begins, and {name} is left unfinished: it had another seed"
    assert left_behind(tmp_path, None, other(seed="1", space="t")).endswith("it had another seed and space")


def test_nothing_is_said_where_nothing_is_left_behind(tmp_path: Path) -> None:
    assert left_behind(tmp_path, None, other(seed="1")) == ""
    name = begun(tmp_path)
    assert left_behind(tmp_path, None, Identity("adult-mlp", "cd" * 32, CODE)) == "", "other data"
    assert left_behind(tmp_path, None, Identity("digits-mlp", "ab" * 32, CODE)) == "", "the study itself"
    with exclusive(tmp_path / "locks" / "digits-mlp-abababab-", "a sweep"):
        assert left_behind(tmp_path, None, other(seed="1")) == "", "its sweep runs"
    assert name in left_behind(tmp_path, None, other(seed="1"))
    opened(tmp_path, identity=Identity("digits-mlp", "ab" * 32, CODE)).finish(True)
    assert left_behind(tmp_path, None, other(seed="1")) == "", "it is finished"


def test_a_folder_without_room_is_refused(tmp_path: Path) -> None:
    require_writable("outputs", tmp_path / "new" / "folder", 1000)
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    with pytest.raises(UserError, match=r"^outputs: .* bytes free and needs 1,000,000,000,000,000,000; free some"):
        require_writable("outputs", tmp_path, 10**18)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^outputs: .*file/sweep cannot be written \(.*\); name another folder"):
        require_writable("outputs", tmp_path / "file" / "sweep")


@pytest.mark.skipif(not os.access("/proc", os.R_OK), reason="needs a folder that nobody can write")
def test_a_sweep_finds_it_before_its_first_epoch(tmp_path: Path, prepared: Path) -> None:
    place = Place(tmp_path, prepared)
    refused = place.run("n_trials=4", "epochs=2", "outputs=/proc/lockstep", ok=False)
    assert (
        refused.stderr.strip().splitlines()[-1].startswith("error: outputs: /proc/lockstep/sweep/mlp cannot be written")
    )
    assert place.studies == []
