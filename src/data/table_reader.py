"""Tables with one row a line and a target among their columns, whatever format their files have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from src.data.raw import ProfileLine, Raw, Task
from src.data.reader import TableReader
from src.system.errors import UserError, suggestion, there_are

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from src.data.inference import Hints


@dataclass(frozen=True)
class Tables:
    """Files of the same columns as a reader finds them.

    Args:
        frames: a table each.
        separator: of the cells, where the format of the files has one.
        warnings: sentences for the person who prepares them.
    """

    frames: list[pd.DataFrame]
    separator: str = ","
    warnings: list[str] = field(default_factory=list)


PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class TableFileReader(TableReader):
    """The keys of a table in a file, with or without a second file of test rows; a subclass says how a file is read."""

    missing_words: ClassVar[frozenset[str]] = frozenset()  # beside `na_values`, in every column that it does not name

    file: Annotated[str, Field(description="the table's file, e.g. data.file=data/raw/mine.csv")]
    test_file: str | None
    split_column: str | None
    target: Annotated[str, Field(description="the column to predict, e.g. data.target=price")]
    task: Annotated[Task, Field(description="data.task=classification or data.task=regression")]
    drop: list[str]
    keep: list[str]
    categorical: list[str] | None
    dates: dict[str, str] | None
    decimal: Literal[".", ","] | None
    thousands: Annotated[str, Field(min_length=1, max_length=1)] | None
    na_values: list[str] | dict[str, list[str]] | None
    target_strip: str
    target_scale: Annotated[float, Field(gt=0)]

    @abstractmethod
    def frames(self, paths: Sequence[Path]) -> Tables:
        """Read files of the same columns, each with at least one row, indexed from 0.

        A cell is text as it stands in the file, NaN, or of its column's own type.
        """

    @property
    def tables(self) -> list[str]:
        """List the table and, if there is one, that of the test rows."""
        return [file for file in (self.file, self.test_file) if file is not None]

    @property
    def files(self) -> list[str]:
        """List the tables."""
        return self.tables

    def hints(self, separator: str) -> Hints:
        """Collect what the config says of columns; `separator` is that of the file's cells."""
        from src.data.inference import Hints

        return Hints(self.categorical or (), self.keep, self.decimal, self.thousands, self.dates or {}, separator)

    def read(self) -> Raw:
        """Read the files, take out the target, and put NaN where a word stands for a missing value.

        Raises:
            UserError: a column that the config names is not there, or the target lacks a value or has a wrong one.
        """
        import pandas as pd

        from src.data.remarks import invisible_twins

        paths = [self.find(file) for file in self.tables]
        tables = self.frames(paths)
        if twins := invisible_twins(map(str, tables.frames[0].columns)):
            tables.warnings.append(twins)
        frames = tables.frames
        if len(paths) == 2:
            _check_same_columns(frames[0], frames[1], paths[0], paths[1])
        part = np.repeat(["train", "test"][: len(frames)], [len(frame) for frame in frames])
        whole = pd.concat(frames, keys=[path.name for path in paths])
        self._check_names(whole, paths[0])
        frame = self._without_missing_words(whole)
        if self.split_column is not None:
            part = _parts(frame[self.split_column])
        x = frame.drop(columns=[self.target, *filter(None, [self.split_column]), *self.drop])
        if x.columns.empty:
            raise UserError(
                f"{self.target!r} is the only column that is left: a model needs at least one to learn from"
            )
        return self._with_target(x, frame[self.target], whole[self.target], part, tables)

    def _with_target(
        self, x: pd.DataFrame, target: pd.Series[Any], cells: pd.Series[Any], part: NDArray[Any], tables: Tables
    ) -> Raw:
        from src.data import remarks
        from src.data import target as targets

        targets.check_present(target, cells)
        line: ProfileLine = {
            "column": self.target,
            "kind": "target",
            "read_as": "classes",
            "distinct": int(target.nunique()),
            "missing": 0,
            "note": "",
        }
        if self.task == "regression":
            y, reading = targets.regression(target, part, self.target_scale, self.hints(tables.separator))
            line |= {"read_as": f"number {reading.number.describe()}".strip()}
            return Raw(x, y, part, self.task, [], [], [line], tables.warnings, tables.separator)
        labels = targets.labels_of(target, self.target_strip)
        classes = targets.classes_of(labels[part != "test"])
        indices = targets.class_indices(labels, classes)
        line |= {"read_as": f"{len(classes.names)} classes", "distinct": len(classes.names)}
        warnings = [*tables.warnings, *targets.balance_warning(indices, classes.names)]
        if twins := remarks.alike(classes.names):
            warnings.append(f"classes {twins}: write them alike if they are")
        return Raw(x, indices, part, self.task, classes.names, classes.values, [line], warnings, tables.separator)

    def _without_missing_words(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Put NaN where a cell of text is a word for a missing value."""
        import pandas as pd

        for name in self.na_values if isinstance(self.na_values, dict) else ():
            if name not in frame:
                raise UserError(
                    f"data.na_values names {name!r}, no column{suggestion(name, frame.columns) or there_are(frame.columns)}"
                )
        return pd.DataFrame({name: self._missing_as_nan(name, cells) for name, cells in frame.items()})

    def _missing_as_nan(self, name: Any, cells: pd.Series[Any]) -> pd.Series[Any]:
        import pandas as pd

        if not (pd.api.types.is_object_dtype(cells.dtype) or pd.api.types.is_string_dtype(cells.dtype)):
            return cells
        words = {*self.missing_words, ""}
        if isinstance(self.na_values, list):
            words |= {*self.na_values}
        elif self.na_values and name in self.na_values:
            words = {"", *self.na_values[name]}
        return cells.mask(cells.isin(words))

    def _check_names(self, frame: pd.DataFrame, path: Path) -> None:
        for key, names in ("target", [self.target]), ("split_column", [self.split_column]), ("drop", self.drop):
            for name in filter(None, names):
                if name not in frame:
                    raise UserError(f"data.{key} names {name!r}, no column of {path}{self._advice(name, frame)}")

    def _advice(self, name: str, frame: pd.DataFrame) -> str:
        return suggestion(name, frame.columns) or there_are(frame.columns)


def _parts(cells: pd.Series[Any]) -> NDArray[np.str_]:
    from src.data.columns import row_name

    part = cells.astype(str).str.strip().str.lower().map(PARTS)
    if part.isna().any():
        at = int(part.isna().to_numpy().argmax())
        raise UserError(
            f"the split column {cells.name!r} is {cells.iloc[at]!r} in {row_name(cells, at)}: "
            "it must be train, val or test"
        )
    return part.to_numpy(dtype=str)


def _check_same_columns(train: pd.DataFrame, test: pd.DataFrame, train_path: Path, test_path: Path) -> None:
    for here, there, path, other in (
        (train.columns, test.columns, test_path, train_path),
        (test.columns, train.columns, train_path, test_path),
    ):
        absent = [name for name in here if name not in there]
        if absent:
            raise UserError(f"{path} lacks the column {absent[0]!r} that {other} has: both must have the same columns")
