"""Files that are read back: whatever is not as it was written becomes one sentence with the file and what to do."""

from pathlib import Path

import pytest

from src.system.checksums import write_checksums
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.read_back import intact, intact_below, read_json, read_yaml
from tests.system.test_json_object import META


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"a": 1}}', b"[" * 100_000])
def test_json_that_is_not_an_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(UserError, match=r"f\.json is not as it was written \(.*\); run it again$"):
        read_json(tmp_path / "f.json", "run it again")


@pytest.mark.parametrize("content", [b"", b"a: b: c", b"- 1", b"\x00", b"!!python/object/apply:os.getcwd []", b"&a *b"])
def test_yaml_that_is_no_mapping(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"f\.yaml is not as it was written \(.*\); run it again$"):
        read_yaml(tmp_path / "f.yaml", "run it again")


def test_a_file_that_is_gone_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there; run it again"):
        read_json(tmp_path / "f.json", "run it again")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); run it again"):
        read_json(tmp_path, "run it again")


def test_a_sentence_of_ours_goes_through_and_a_bug_stays_one() -> None:
    with pytest.raises(UserError, match=r"^mine$"), intact(Path("f"), "again"):
        raise UserError("mine")
    with pytest.raises(AssertionError), intact(Path("f"), "again"):
        raise AssertionError("ours")


def test_files_are_blamed_only_where_one_is_not_as_it_was_written(tmp_path: Path) -> None:
    """A bug of what shows them stays a bug; weights have a checksum inside."""

    def show() -> None:
        with intact_below([tmp_path / "none", tmp_path], "run it again"):
            raise KeyError("curve")

    (tmp_path / "a").mkdir()
    for name in ("f.json", "g.safetensors"):
        (tmp_path / "a" / name).write_bytes(b"{}")
    with pytest.raises(UserError, match=r"a/f\.json may not be as it was written \('curve'\); run it again"):
        show()
    (tmp_path / "a/g.safetensors").unlink()
    write_checksums(tmp_path / "a")
    (tmp_path / "a/g.safetensors").write_bytes(b"{}")
    with pytest.raises(KeyError):
        show()
    (tmp_path / "a/f.json").write_bytes(b"[]")
    with pytest.raises(UserError, match=r"a/f\.json may not be as it was written"):
        show()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("n_train", "x"), ("n_train", None), ("input_shape", "ab"), ("input_shape", [None]), ("task", "sorting")),
        *(("class_names", {}), ("target_mean", []), ("origin", 3), ("bins", [1]), ("columns", 3)),
    ],
)
def test_a_value_of_another_type_is_named(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"meta\.json, {key}: .* make it again"):
        DataMeta.from_json({**META, key: value})
    with pytest.raises(UserError, match=r"meta\.json is .* and no object"):
        DataMeta.from_json([1])  # type: ignore[arg-type]
