"""Tables with one row a line and a target among their columns, whatever format their files have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from src.data.raw import Raw, Task
from src.data.reader import TableReader
from src.system.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


class TableFileReader(TableReader):
    """The keys of a table in a file, with or without a second file of test rows; a subclass says how a file is read."""

    file: Annotated[str, Field(description="the table's file, e.g. data.file=data/raw/mine.csv")]
    test_file: str | None
    split_column: str | None
    target: Annotated[str, Field(description="the column to predict, e.g. data.target=price")]
    task: Annotated[Task, Field(description="data.task=classification or data.task=regression")]
    drop: list[str]
    categorical: list[str] | None
    target_strip: str
    target_scale: Annotated[float, Field(gt=0)]

    @abstractmethod
    def frames(self, paths: Sequence[Path]) -> list[pd.DataFrame]:
        """Read files of the same columns, each with at least one row; rows are indexed from 0."""

    def read(self) -> Raw:
        import pandas as pd

        from src.data import tables

        paths = [self.find(file) for file in (self.file, self.test_file) if file is not None]
        frames = self.frames(paths)
        if len(paths) == 2:
            tables.check_same_columns(frames[0], frames[1], paths[0], paths[1])
        part = np.repeat(["train", "test"][: len(frames)], [len(frame) for frame in frames])
        frame = pd.concat(frames, keys=[path.name for path in paths])
        self._check_columns(frame, paths[0])
        if self.split_column is not None:
            part = tables.parts(frame[self.split_column])
        x = frame.drop(columns=[self.target, *filter(None, [self.split_column]), *self.drop])
        return tables.table(
            x, frame[self.target], part, self.task, self.categorical, self.target_strip, self.target_scale
        )

    def _check_columns(self, frame: pd.DataFrame, path: Path) -> None:
        for key, names in ("target", [self.target]), ("split_column", [self.split_column]), ("drop", self.drop):
            for name in filter(None, names):
                if name not in frame:
                    raise UserError(
                        f"data.{key} names {name!r}, which is no column of {path}: {self._advice(name, frame)}"
                    )

    def _advice(self, name: str, frame: pd.DataFrame) -> str:
        return did_you_mean(name, frame.columns)
