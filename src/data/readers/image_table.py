"""Images in files that a table lists, with a target each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from src.data.image_files import read_images
from src.data.raw import Raw
from src.data.reader import ImageReader
from src.data.readers.csv import Csv
from src.system.errors import UserError

if TYPE_CHECKING:
    from src.data.large_table import Chunks


class ImageTable(ImageReader, Csv):
    """A text table with a row an image: the path of its file, its target (a class or a number), and perhaps its part."""

    reader: Literal["image_table"]  # type: ignore[assignment]
    path: str | None
    size: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=2)] | None
    channels: Literal[1, 3] | None
    # keys of a table that has inputs
    scaling: Literal["standard"] = "standard"
    drop: list[str] = Field(default_factory=list)
    keep: list[str] = Field(default_factory=list)
    categorical: None = None
    dates: None = None
    comment: None = None
    columns: None = None
    skip_rows: Literal[0] = 0
    skip_footer: Literal[0] = 0

    @property
    def files(self) -> list[str]:
        """List the tables and all images."""
        return [*self.tables, *self._paths]

    def in_chunks(self, paths: Sequence[Path]) -> Sequence[Chunks]:
        """Read the table at once: images need far more memory than their names."""
        return []

    def read(self) -> Raw:
        """Read the table and all images in one size and with the same channels.

        Raises:
            UserError: a column, a path or a target is missing or wrong, an image is damaged, or they do not fit into memory.
        """
        x, warnings = read_images([self.find(name) for name in self._paths], self.size, self.channels)
        return replace(self._table, x=x, warnings=[*self._table.warnings, *warnings])

    @cached_property
    def _table(self) -> Raw:
        return super().read()

    @cached_property
    def _paths(self) -> list[str]:
        frame = self._table.x
        column = self.path or frame.columns[0]
        if column not in frame:
            raise UserError(
                f"data.path names {column!r}, which is no column of {self.file}: {', '.join(frame.columns)}"
            )
        absent = frame[column].isna()
        if absent.any():
            raise UserError(
                f"{self.file} has no path in the column {column!r} of row {int(absent.to_numpy().argmax()) + 1}"
            )
        return [str(name) for name in frame[column]]
