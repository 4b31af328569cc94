"""Images in files, a folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.data.raw import Raw
from src.data.raw_file import available_memory, check_size
from src.data.reader import ImageReader
from src.system.errors import UserError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MOST_PIXELS = 50_000_000  # of one image
BYTES = 12  # of memory that a pixel of one channel takes until it is prepared
GREY = {"1", "L", "LA", "I", "I;16", "F"}


class Images(ImageReader):
    """Images below a folder of their class, which may stand in folders of the parts: train, val and test."""

    reader: Literal["images"]
    size: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=2)] | None
    channels: Literal[1, 3] | None

    @property
    def files(self) -> list[str]:
        """List all images, in the order of their names."""
        folder = self._folder()
        return sorted(
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )

    def read(self) -> Raw:
        """Read all images in one size and with the same channels.

        Raises:
            UserError: there are none, one is damaged or outside of a class, or they would not fit into memory.
        """
        folder, names = self._folder(), self.files
        places = [_place(name, folder) for name in names]
        if not places:
            raise UserError(f"{folder} holds no images: a folder a class is expected, such as {folder}/cat/1.png")
        sizes, modes = zip(*(_header(folder / name) for name in names), strict=True)
        height, width = self.size or Counter(sizes).most_common(1)[0][0]
        channels = self.channels or (1 if set(modes) <= GREY else 3)
        check_size(folder, BYTES * len(names) * channels * height * width, available_memory())
        x = np.stack([_pixels(folder / name, height, width, channels) for name in names])
        classes = sorted({label for _, label in places})
        y = np.array([classes.index(label) for _, label in places])
        part = np.array([part for part, _ in places])
        warnings = _remarks(sizes, modes, height, width, channels)
        return Raw(x, y, part, "classification", classes, warnings=warnings)

    def _folder(self) -> Path:
        for folder in self.folders:
            if folder.is_dir():
                return folder
        places = " or ".join(map(str, self.folders))
        source = f"get the images from {self.source}" if self.source else "put the images there"
        raise UserError(
            f"{places} is not there: {source}, a folder a class, or set data.root to the folder that has them"
        )


def _place(name: str, folder: Path) -> tuple[str, str]:
    """Tell the part and the class of an image by the folders above it."""
    above = Path(name).parts[:-1]
    part = PARTS.get(above[0].lower(), "") if len(above) > 1 else ""
    if not above or (len(above) == 1 and above[0].lower() in PARTS):
        raise UserError(
            f"{folder / name} is in no folder of a class: one is expected, such as {folder}/cat/{Path(name).name}"
        )
    return part or "train", above[1] if part else above[0]


def _open(path: Path) -> Image:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the size is checked here
    try:
        image = Image.open(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is not a whole image: {first_line(error)}") from None
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise UserError(f"{path} has {image.width} × {image.height} pixels, more than {MOST_PIXELS:,}: make it smaller")
    return image


def _header(path: Path) -> tuple[tuple[int, int], str]:
    with _open(path) as image:
        return (image.height, image.width), image.mode


def _pixels(path: Path, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Read the pixels of an image [C, H, W]."""
    with _open(path) as image:
        try:
            converted = image.convert("L" if channels == 1 else "RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{path} is not a whole image: {first_line(error)}") from None
    if (converted.height, converted.width) != (height, width):
        converted = converted.resize((width, height))
    return np.atleast_3d(np.asarray(converted, np.uint8)).transpose(2, 0, 1)


def _remarks(
    sizes: Sequence[tuple[int, int]], modes: Sequence[str], height: int, width: int, channels: int
) -> list[str]:
    """Say what is done to images that differ."""
    remarks = []
    if other := sum(size != (height, width) for size in sizes):
        remarks.append(
            f"{other} of {len(sizes)} images have another size and are resized to {height} × {width} (data.size)"
        )
    if len(set(modes)) > 1:
        kind = "grey" if channels == 1 else "RGB"
        remarks.append(f"the images are {', '.join(sorted(set(modes)))}: all are read as {kind} (data.channels)")
    return remarks
