"""Files of tensors: whatever byte of one changes, it is noticed, and those of before still load."""

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from src.system.errors import UserError
from src.system.tensors import read_tensors, read_weights, tensor_bytes

TENSORS = {"weight": torch.arange(12.0).view(3, 4).t(), "count": torch.tensor(7), "mask": torch.tensor([True, False])}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_bytes(TENSORS, {"epoch": "3", "curves": "{}"}))
    return path


def test_a_file_has_what_was_written_and_the_same_bytes_again(file: Path) -> None:
    tensors, metadata = read_tensors(file)
    assert metadata == {"epoch": "3", "curves": "{}"}
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert file.read_bytes() == tensor_bytes(dict(reversed(TENSORS.items())), {"curves": "{}", "epoch": "3"})


def test_whatever_bit_flips_the_content_is_never_another(file: Path) -> None:
    """A bit of the padding, or of the name of the checksum, changes nothing that is read."""
    whole, (expected, metadata) = file.read_bytes(), read_tensors(file)
    noticed = 0
    for place in range(len(whole)):
        torn = bytearray(whole)
        torn[place] ^= 1 << random.Random(place).randrange(8)
        file.write_bytes(torn)
        try:
            tensors, others = read_tensors(file)
        except OSError:
            noticed += 1
            continue
        assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
        assert {name: value for name, value in others.items() if len(value) < 64} == metadata
    assert noticed > 0.9 * len(whole)


@pytest.mark.parametrize("size", [0, 5, 60, -1])
def test_a_torn_file_and_a_missing_one_end_with_what_to_do(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match=r"torn.*; train again$"):
        read_weights(file, "train again")
    file.unlink()
    with pytest.raises(UserError, match=r"No such file.*; train again$"):
        read_weights(file, "train again")


def test_files_without_a_checksum_are_read_as_before(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "plain")
    (tmp_path / "named").write_bytes(save({"a": torch.ones(2)}, {"joint": "x y"}))
    assert read_tensors(tmp_path / "plain")[1] == {}
    assert read_tensors(tmp_path / "named")[1] == {"joint": "x y"}
    assert read_tensors(tmp_path / "named")[0]["a"].tolist() == [1.0, 1.0]
