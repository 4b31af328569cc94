"""A store in a folder and on a server of S3's protocol does the same, and says in a sentence what does not work."""

from pathlib import Path

import pytest

from src.system.errors import UserError
from src.system.store import Store
from tests.tracking.test_server import answering

METHODS = "GET", "HEAD", "PUT", "DELETE"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_files_of_a_store(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = Store(str(tmp_path / "store") if kind == "folder" else request.getfixturevalue("s3"))
    assert store.sizes("data/a") == {}
    assert store.read("data/a/x") is None
    assert not store.download("data/a/x", tmp_path / "none")
    store.remove("data/a/x")
    store.write("data/a/x", b"first")
    store.write("data/a/x", b"second")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4096)
    store.upload("data/a/large", tmp_path / "large")
    assert store.sizes("data/a") == {"x": 6, "large": 2**20}
    assert store.read("data/a/x") == b"second"
    assert store.download("data/a/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    store.remove("data/a/x")
    assert store.sizes("data/a") == {"large": 2**20}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_store_that_does_not_work_is_said_without_a_secret(s3: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"store\.url: s3://no-such-bucket/here does not work") as caught:
        Store("s3://no-such-bucket/here").write("name", b"")
    assert "secret" not in str(caught.value)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"store\.url: .*/file does not work"):
        Store(str(tmp_path / "file")).write("name", b"")
    with pytest.raises(UserError, match=r"store\.url: "):
        Store("nosuch://me:secret@host/x")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_what_is_no_store_is_refused_before_anything_is_to_be_kept_there(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of another kind says of each file that there is none, and of each folder that it is empty."""
    monkeypatch.setattr("src.system.store.PATIENCE", 0.0)
    assert Store.writable(s3).sizes("") == {}
    assert Store.writable(str(tmp_path / "store")).sizes("") == {}
    assert not list((tmp_path / "store").iterdir())
    with answering(404, b"", methods=METHODS) as web, answering(200, b"<html>", methods=METHODS) as friendly:
        assert Store(web).read("name") is None
        with pytest.raises(UserError, match=r"^store\.url: .* does not work"):
            Store.writable(web)
        with pytest.raises(UserError, match=r"^store\.url: .* is no store: what is written there does not come back"):
            Store.writable(friendly)
