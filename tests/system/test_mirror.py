"""What one machine saves another one finds, and what it removes is gone; without a store a mirror is a folder."""

from pathlib import Path

import pytest

from src.system.mirror import Mirror


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_another_machine_finds_what_was_saved(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path / "store") if kind == "folder" else request.getfixturevalue("s3")
    here, there = (Mirror.of(tmp_path / name, url, "studies/a") for name in ("here", "there"))
    there.fetch()
    assert not there.folder.exists()
    here.folder.mkdir()
    for name in ("1-3", "2-1", "2-2"):
        (here.folder / name).write_bytes(name.encode())
    here.save([here.folder / "1-3", here.folder / "2-2", here.folder / "none"])
    here.remove(here.folder / "2-1")
    assert not (here.folder / "2-1").exists()
    there.folder.mkdir()
    (there.folder / "1-3").write_bytes(b"torn")
    there.fetch()
    assert {path.name: path.read_text() for path in there.folder.iterdir()} == {"1-3": "1-3", "2-2": "2-2"}
    there.remove(there.folder / "2-2")
    other = Mirror.of(tmp_path / "other", url, "studies/a")
    other.fetch()
    assert [path.name for path in other.folder.iterdir()] == ["1-3"]


def test_without_a_store_nothing_is_fetched_or_saved(tmp_path: Path) -> None:
    alone = Mirror.of(tmp_path, None, "studies/a")
    (tmp_path / "1-3").write_bytes(b"1-3")
    alone.save([tmp_path / "1-3"])
    alone.fetch()
    assert (tmp_path / "1-3").exists()
    alone.remove(tmp_path / "1-3")
    assert not list(tmp_path.iterdir())
