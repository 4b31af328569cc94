"""Images in a folder a class are read in one size and with the same channels."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.dataset import load, raw_example, transform
from src.data.preparing import prepare
from src.system.errors import UserError
from tests.data.support import conf

MODES = ("L", "RGB", "RGBA")


def photos(folder: Path, *, n: int = 12, parts: tuple[str, ...] = ("",), modes: tuple[str, ...] = MODES) -> Path:
    rng = np.random.default_rng(0)
    for part in parts:
        for label, bright in ("cat", 40), ("dog", 200):
            (folder / part / label).mkdir(parents=True)
            for k in range(n):
                mode = modes[k % len(modes)]
                shape = (12 + k % 2, 14, len(mode) if mode != "L" else 1)
                pixels = rng.integers(bright, bright + 50, shape, np.uint8).squeeze()
                Image.fromarray(pixels).save(folder / part / label / f"{k}.png")
    return folder


def test_sizes_and_channels_become_one(tmp_path: Path) -> None:
    meta = prepare(conf("images", root=str(photos(tmp_path / "p"))), tmp_path / "out")
    assert meta["class_names"] == ["cat", "dog"]
    assert meta["input_shape"] == [3, 12, 14]
    assert "12 of 24 images have another size and are resized to 12 × 14" in meta["warnings"][0]
    assert "L, RGB, RGBA: all are read as RGB" in meta["warnings"][1]
    data = load(tmp_path / "out")
    assert (data.x_train[data.y_train == 1].mean(axis=(1, 2, 3)) > data.x_train[data.y_train == 0].mean()).all()
    assert np.array_equal(transform(tmp_path / "out", raw_example(tmp_path / "out")), data.x_train[:5])
    grey = prepare(conf("images", root=str(tmp_path / "p"), channels=1, size=[5, 6]), tmp_path / "out")
    assert grey["input_shape"] == [1, 5, 6]


def test_folders_of_parts(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", parts=("train", "test"), modes=("L",))
    meta = prepare(conf("images", root=str(root), test_fraction=None), tmp_path / "out")
    assert (meta["n_test"], meta["n_train"] + meta["n_val"], meta["input_shape"][0]) == (24, 24, 1)


def test_damaged_and_misplaced_images(tmp_path: Path) -> None:
    config = conf("images", root=str(photos(tmp_path / "p")))
    image = tmp_path / "p/cat/3.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    with pytest.raises(UserError, match=r"cat/3\.png is not a whole image"):
        prepare(config, tmp_path / "out")
    image.write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"cat/3\.png is not a whole image"):
        prepare(config, tmp_path / "out")
    image.write_bytes(whole)
    (tmp_path / "p/alone.png").write_bytes(whole)
    with pytest.raises(UserError, match=r"alone\.png is in no folder of a class"):
        prepare(config, tmp_path / "out")
    (tmp_path / "out2").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        prepare(conf("images", root=str(tmp_path / "out2")), tmp_path / "out")
    with pytest.raises(UserError, match="nowhere is not there"):
        prepare(conf("images", root=str(tmp_path / "nowhere")), tmp_path / "out")


def test_a_header_that_claims_more_than_fits(tmp_path: Path) -> None:
    root = photos(tmp_path / "p")
    content = bytearray((root / "cat/0.png").read_bytes())
    content[16:24] = (60000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (root / "cat/0.png").write_bytes(bytes(content))
    with pytest.raises(UserError, match="60000 × 60000 pixels"):
        prepare(conf("images", root=str(root)), tmp_path / "out")
