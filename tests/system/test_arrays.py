"""A changed byte in an array that is read back is found wherever it stands."""

import random
from pathlib import Path

import numpy as np
import pytest

from src.system.arrays import file_digest, read_npy, read_npz
from src.system.errors import UserError
from src.system.files import write_npy, write_npz

ARRAY = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", ARRAY)
    write_npz(tmp_path / "a.npz", {"7": ARRAY, "8": 2 * ARRAY})
    assert np.array_equal(read_npy(tmp_path / "a.npy", file_digest(tmp_path / "a.npy"), ""), ARRAY)
    assert np.array_equal(read_npy(tmp_path / "a.npy", None, ""), ARRAY)
    assert np.array_equal(read_npz(tmp_path / "a.npz", "8", ""), 2 * ARRAY)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """In an archive one of its directory may change nothing that is read; the array is then as it was."""
    npy, npz, rng = tmp_path / "a.npy", tmp_path / "a.npz", random.Random(0)
    write_npy(npy, ARRAY)
    write_npz(npz, {"7": ARRAY})
    digest, whole = file_digest(npy), {path: path.read_bytes() for path in (npy, npz)}
    found = 0
    for _ in range(100):
        for path, content in whole.items():
            changed = bytearray(content)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
        with pytest.raises(UserError, match=r"a\.npy has changed since it was written; train again"):
            read_npy(npy, digest, "train again")
        try:
            assert np.array_equal(read_npz(npz, "7", "sweep again"), ARRAY)
        except UserError:
            found += 1
    assert found > 50


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array", None])
def test_what_is_no_array_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    for name, read in (
        ("a.npy", lambda path: read_npy(path, None, "do it")),
        ("a.npz", lambda p: read_npz(p, "7", "do it")),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be read.*; do it$"):
            read(tmp_path / name)
