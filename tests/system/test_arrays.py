"""A changed byte in an array that is read back is found wherever it stands."""

import random
from pathlib import Path

import numpy as np
import pytest

from src.system.arrays import read_npy, read_npz
from src.system.checksums import write_checksums
from src.system.errors import UserError
from src.system.files import write_npy, write_npz

ARRAY = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", ARRAY)
    write_npz(tmp_path / "a.npz", {"7": ARRAY, "8": 2 * ARRAY})
    for _ in range(2):
        assert np.array_equal(read_npy(tmp_path / "a.npy", ""), ARRAY)
        assert np.array_equal(read_npz(tmp_path / "a.npz", "8", ""), 2 * ARRAY)
        write_checksums(tmp_path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    npy, npz, rng = tmp_path / "a.npy", tmp_path / "a.npz", random.Random(0)
    write_npy(npy, ARRAY)
    write_npz(npz, {"7": ARRAY})
    write_checksums(tmp_path)
    whole = {path: path.read_bytes() for path in (npy, npz)}
    for _ in range(100):
        for path, content in whole.items():
            changed = bytearray(content)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
        with pytest.raises(UserError, match=r"a\.npy has changed since it was written; train again"):
            read_npy(npy, "train again")
        with pytest.raises(UserError, match=r"a\.npz has changed since it was written; sweep again"):
            read_npz(npz, "7", "sweep again")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array", None])
def test_what_is_no_array_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    for name, read in (
        ("a.npy", lambda path: read_npy(path, "do it")),
        ("a.npz", lambda p: read_npz(p, "7", "do it")),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"(cannot be read.*|is not there); do it$"):
            read(tmp_path / name)
