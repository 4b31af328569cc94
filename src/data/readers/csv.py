"""Tables in text files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from src.data.table_reader import TableFileReader

if TYPE_CHECKING:
    import pandas as pd


class Csv(TableFileReader):
    """A table in a text file: cells between separators, a row a line, compressed or not."""

    reader: Literal["csv"]
    separator: Annotated[str, Field(min_length=1)]
    encoding: str
    na_values: list[str]
    comment: Annotated[str, Field(min_length=1, max_length=1)] | None
    columns: list[str] | None

    def frames(self, paths: Sequence[Path]) -> list[pd.DataFrame]:
        from src.data.tables import read_frame

        return [
            read_frame(
                path,
                separator=self.separator,
                encoding=self.encoding,
                na_values=self.na_values,
                comment=self.comment,
                columns=self.columns,
            )
            for path in paths
        ]

    def _advice(self, name: str, frame: pd.DataFrame) -> str:
        if frame.shape[1] == 1:
            return f"with data.separator={self.separator!r} it has one column only"
        return super()._advice(name, frame)
