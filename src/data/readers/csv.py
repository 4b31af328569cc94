"""Tables in text files."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from src.data.raw import Raw, TableConfig, Task
from src.system.errors import UserError, did_you_mean


class CsvConfig(TableConfig):
    """A table in a text file, with or without test rows of its own."""

    reader: Literal["csv"]
    file: Annotated[str, Field(description="the table's file, e.g. data.file=data/raw/mine.csv")]
    test_file: str | None
    split_column: str | None
    target: Annotated[str, Field(description="the column to predict, e.g. data.target=price")]
    task: Annotated[Task, Field(description="data.task=classification or data.task=regression")]
    separator: Annotated[str, Field(min_length=1)]
    encoding: str
    na_values: list[str]
    comment: Annotated[str, Field(min_length=1, max_length=1)] | None
    columns: list[str] | None
    drop: list[str]
    categorical: list[str] | None
    target_strip: str
    target_scale: Annotated[float, Field(gt=0)]

    def read(self) -> Raw:
        import pandas as pd

        from src.data import tables

        paths = [self.find(file) for file in (self.file, self.test_file) if file is not None]
        frames = [
            tables.read_frame(
                path,
                separator=self.separator,
                encoding=self.encoding,
                na_values=self.na_values,
                comment=self.comment,
                columns=self.columns,
            )
            for path in paths
        ]
        if len(paths) == 2:
            tables.check_same_columns(frames[0], frames[1], paths[0], paths[1])
        part = np.repeat(["train", "test"][: len(frames)], [len(frame) for frame in frames])
        frame = pd.concat(frames, keys=[path.name for path in paths])
        for key, names in ("target", [self.target]), ("split_column", [self.split_column]), ("drop", self.drop):
            for name in filter(None, names):
                if name not in frame:
                    nearest = did_you_mean(name, frame.columns)
                    if frame.shape[1] == 1:
                        nearest = f"with data.separator={self.separator!r} it has one column only"
                    raise UserError(f"data.{key} names {name!r}, which is no column of {paths[0]}: {nearest}")
        if self.split_column is not None:
            part = tables.parts(frame[self.split_column])
        target = frame[self.target]
        x = frame.drop(columns=[self.target, *filter(None, [self.split_column]), *self.drop])
        return tables.table(x, target, part, self.task, self.categorical, self.target_strip, self.target_scale)
