"""Rows of two arrays as one, copied or mapped."""

from pathlib import Path

import numpy as np
import pytest

from src.data import joined_rows
from src.data.joined_rows import joined


def test_many_rows_are_mapped_and_equal_to_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((50, 3)).astype(np.float32), rng.standard_normal((7, 3)).astype(np.float32)
    copied = joined(first, np.asfortranarray(second), tmp_path / "data")
    assert not isinstance(copied.base, np.memmap)
    monkeypatch.setattr(joined_rows, "MOST_BYTES", 100)
    mapped = joined(first, np.asfortranarray(second), tmp_path / "data")
    assert isinstance(mapped.base, np.memmap)
    assert np.array_equal(mapped, np.concatenate([first, second]))
    assert np.array_equal(copied, mapped)
    assert mapped.flags.c_contiguous
    assert mapped.flags.writeable
    assert not list(tmp_path.iterdir())
