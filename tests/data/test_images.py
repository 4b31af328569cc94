"""Images in a folder a class are read in one size and with the same channels."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from src.data.dataset import load, raw_example, transform
from src.data.image_files import read_images
from src.data.patches import patch_moments
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
    assert meta.class_names == ["cat", "dog"]
    assert meta.input_shape == (3, 12, 14)
    assert "12 of 24 images have another size and are resized to 12 × 14" in meta.warnings[0]
    assert "L, RGB, RGBA: all are read as RGB" in meta.warnings[1]
    data = load(tmp_path / "out")
    assert (data.x_train[data.y_train == 1].mean(axis=(1, 2, 3)) > data.x_train[data.y_train == 0].mean()).all()
    assert np.array_equal(transform(tmp_path / "out", raw_example(tmp_path / "out")), data.x_train[:5])
    grey = prepare(conf("images", root=str(tmp_path / "p"), channels=1, size=[5, 6]), tmp_path / "out")
    assert grey.input_shape == (1, 5, 6)


def test_folders_of_parts(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", parts=("train", "test"), modes=("L",))
    meta = prepare(conf("images", root=str(root), test_fraction=None), tmp_path / "out")
    assert (meta.n_test, meta.n_train + meta.n_val, meta.input_shape[0]) == (24, 24, 1)


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


def saved(path: Path, pixels: NDArray[Any], **how: Any) -> NDArray[np.uint8]:
    """What is read of an image with these pixels, in one size of its own."""
    Image.fromarray(pixels).save(path, **how)
    return read_images([path], None, None)[0][0]


def test_an_image_is_read_as_a_person_sees_it(tmp_path: Path) -> None:
    """Upright, transparent pixels on white, and of 16 bits the upper 8, which Pillow would cut off at 255."""
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: a quarter turn clockwise shows it as it was
    assert np.array_equal(saved(tmp_path / "turned.png", grey, exif=exif)[0], np.rot90(grey, -1))
    assert np.array_equal(saved(tmp_path / "deep.png", grey.astype(np.uint16) * 256 + 7)[0], grey)
    clear = np.dstack([grey, grey, grey, np.where(grey > 100, 255, 0).astype(np.uint8)])
    assert np.array_equal(saved(tmp_path / "clear.png", clear)[1], np.where(grey > 100, grey, 255))
    palette = Image.fromarray(grey).convert("P")
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_images([tmp_path / "palette.png"], None, 1)[0][0, 0], grey)
    with pytest.raises(UserError, match=r"wide\.tif has values of more than 16 bits, or fractions"):
        saved(tmp_path / "wide.tif", grey.astype(np.float32) / 300)


def test_large_images_become_smaller_where_nobody_says_a_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (150, 200, 3), np.uint8)
    assert saved(tmp_path / "large.jpg", pixels).shape == (3, 48, 64)
    x, warnings = read_images([tmp_path / "large.jpg"], [150, 200], 1)
    assert x.shape == (1, 1, 150, 200)
    assert not warnings


def listed(folder: Path, lines: list[str], **values: Any) -> dict[str, Any]:
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return conf("image_table", root=str(folder), **{"file": "list.csv", **values})


def test_a_table_of_paths_and_targets(tmp_path: Path) -> None:
    photos(tmp_path, n=20, modes=("L",))
    names = [f"{label}/{k}.png" for k in range(20) for label in ("cat", "dog")]
    parts = ["train"] * 24 + ["val"] * 8 + ["test"] * 8
    prices = [f"{1000 + k}.5" for k in range(40)]
    lines = ["price,image,part", *(",".join(row) for row in zip(prices, names, parts, strict=True))]
    meta = prepare(listed(tmp_path, lines, target="price", task="regression", split_column="part"), tmp_path / "out")
    assert (meta.task, meta.n_train, meta.n_val, meta.n_test) == ("regression", 24, 8, 8)
    assert meta.input_shape == (1, 12, 14)
    assert meta.target_mean == pytest.approx(1000.5 + 23 / 2)
    assert np.array_equal(
        transform(tmp_path / "out", raw_example(tmp_path / "out")), load(tmp_path / "out").x_train[:5]
    )
    lines = ["animal,image", *(f"{name[:3]},{name}" for name in names)]
    meta = prepare(listed(tmp_path, lines, target="animal", task="classification", path="image"), tmp_path / "out")
    assert meta.class_names == ["cat", "dog"]
    assert set(dict(meta.origin or {})["files"]) == {"list.csv", *names}


@pytest.mark.parametrize(
    ("change", "values", "says"),
    [
        ("cat/0.png", {"path": "photo"}, r"data\.path names 'photo', which is no column of list\.csv: image"),
        ("cat/99.png", {}, r"cat/99\.png is not there"),
        ("", {}, r"list\.csv has no path in the column 'image' of row 1"),
    ],
)
def test_a_wrong_table_of_paths(tmp_path: Path, change: str, values: dict[str, Any], says: str) -> None:
    photos(tmp_path, n=5, modes=("L",))
    lines = ["image,y", f"{change},1", *(f"{label}/{k}.png,{k % 2}" for k in range(5) for label in ("cat", "dog"))]
    with pytest.raises(UserError, match=says):
        prepare(listed(tmp_path, lines, target="y", task="classification", **values), tmp_path / "out")


@pytest.mark.parametrize("shape", [(40, 1, 6, 7), (9, 3, 5, 4), (4, 1, 1, 9)])
def test_patch_moments_are_those_of_all_patches(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    padded = np.pad(x, [(0, 0), (0, 0), *[(1, 1) if side < 3 else (0, 0) for side in shape[2:]]])
    patches = torch.nn.functional.unfold(torch.from_numpy(padded).double(), 3).transpose(1, 2).flatten(0, 1).numpy()
    np.testing.assert_allclose(patch_moments(x), patches.T @ patches / len(patches), atol=1e-12)
