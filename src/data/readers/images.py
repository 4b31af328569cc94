"""Images in files, a folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from src.data.image_files import SUFFIXES, read_images
from src.data.raw import Raw
from src.data.reader import ImageReader
from src.system.errors import UserError

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


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
        x, warnings = read_images([folder / name for name in names], self.size, self.channels)
        classes = sorted({label for _, label in places})
        y = np.array([classes.index(label) for _, label in places])
        part = np.array([part for part, _ in places])
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
