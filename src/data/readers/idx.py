"""Images in IDX files, as MNIST has them."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from src.data.raw import Raw
from src.data.raw_file import read_bytes
from src.data.reader import ImageReader
from src.system.errors import UserError


class Idx(ImageReader):
    """Images and labels in the four gzipped IDX files of MNIST and its kin, with official test rows."""

    reader: Literal["idx"]
    test_fraction: None
    class_names: list[str]
    md5: dict[str, str] | None

    @property
    def files(self) -> list[str]:
        """List the four files."""
        return [name for stem in ("train", "t10k") for name, _ in _names(stem)]

    def read(self) -> Raw:
        """Read images and labels; the files of t10k are test rows.

        Raises:
            UserError: a file is missing, damaged or of another size than its pair.
        """
        images, labels = zip(*(self._pair(stem) for stem in ("train", "t10k")), strict=True)
        if images[0].shape[1:] != images[1].shape[1:]:
            raise UserError(f"training images are {images[0].shape[1:]}, test images {images[1].shape[1:]} pixels")
        part = np.repeat(["train", "test"], [len(labels[0]), len(labels[1])])
        x, y = np.concatenate(images)[:, None], np.concatenate(labels).astype(np.int64)
        return Raw(x, y, part, "classification", self.class_names)

    def _pair(self, stem: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images, labels = (self._file(name, n_axes) for name, n_axes in _names(stem))
        if len(images) != len(labels):
            raise UserError(f"{stem}: {len(images)} images, but {len(labels)} labels: they must be pairs")
        wrong = labels >= len(self.class_names)
        if wrong.any():
            at = int(wrong.argmax())
            last = len(self.class_names) - 1
            raise UserError(f"{stem} label {at + 1} is {labels[at]}, but data.class_names has classes 0 to {last}")
        return images, labels

    def _file(self, name: str, n_axes: int) -> NDArray[np.uint8]:
        path = self.find(name)
        content = read_idx(path, n_axes)
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if self.md5 is not None and md5 != self.md5.get(name):
            raise UserError(
                f"{path} has the md5 {md5}, not {self.md5.get(name)}: fetch it again, "
                "or set data.md5=null for images of your own"
            )
        return content


def _names(stem: str) -> list[tuple[str, int]]:
    """List the files of a part, images first, with their numbers of axes."""
    return [(f"{stem}-images-idx3-ubyte.gz", 3), (f"{stem}-labels-idx1-ubyte.gz", 1)]


def read_idx(path: Path, n_axes: int) -> NDArray[np.uint8]:
    """Read an array of bytes with `n_axes` axes in LeCun's IDX format, gzipped.

    Raises:
        UserError: it is damaged, another kind of file, or announces another size than it has.
    """
    content = read_bytes(path)
    magic = int.from_bytes(content[:4], "big")
    expected = 0x0800 + n_axes
    if magic != expected:
        raise UserError(f"{path} starts with the magic number {magic}, an IDX file of {n_axes} axes with {expected}")
    start = 4 + 4 * n_axes
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != prod(shape):
        raise UserError(f"{path} announces {prod(shape)} bytes of data, but has {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
