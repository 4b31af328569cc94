"""Tables with one row a line and a target among their columns, whatever format their files have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from src.data.raw import ProfileLine, Raw, Task
from src.data.reader import TableReader
from src.data.splitting import parts_of
from src.system.errors import UserError, suggestion, there_are

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from src.data.columns import Reading
    from src.data.inference import Hints
    from src.data.large_table import Chunks
    from src.data.target import Classes


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

    def in_chunks(self, paths: Sequence[Path]) -> Sequence[Chunks]:
        """Open files of which one is large (`src/data/large_table.py`), to be read piece by piece; none where none is.

        Their cells are those of `frames`.
        """
        return []

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

        paths = [self.find(file) for file in self.tables]
        if files := self.in_chunks(paths):
            return self._read_in_pieces(paths, files)
        tables = self.frames(paths)
        frames = tables.frames
        tables.warnings.extend(self._check_columns(frames, paths))
        part: Any = np.repeat(["train", "test"][: len(frames)], [len(frame) for frame in frames])
        whole = pd.concat(frames, keys=[path.name for path in paths])
        frame = self.without_missing_words(whole)
        if self.split_column is not None:
            part = parts_of(frame[self.split_column])
        x = frame[self._inputs(frame.columns)]
        return self._with_target(x, frame[self.target], whole[self.target], part, tables)

    def _read_in_pieces(self, paths: Sequence[Path], files: Sequence[Chunks]) -> Raw:
        """Read the target of all rows; the inputs come piece by piece, whenever they are asked for."""
        import pandas as pd

        from src.data.large_table import LargeTable
        from src.data.large_target import LargeTarget

        warnings = self._check_columns([pd.DataFrame(columns=[*file.names]) for file in files], paths)
        named = [(path.name, file) for path, file in zip(paths, files, strict=True)]
        columns = self._inputs(files[0].names)
        separator = getattr(files[0], "separator", ",")
        target = LargeTarget(named, self.target, self.split_column, self.without_missing_words)
        if self.task == "regression":
            y, reading = target.regression(self.target_scale, self.hints(separator))
            raw = self._values(None, y, target.part, reading, len(np.unique(y)))
        else:
            raw = self._classes(None, *target.classes(self.target_strip), target.part)
        warnings = [*(sentence for file in files for sentence in file.warnings()), *warnings, *raw.warnings]
        x = LargeTable(named, columns, self.without_missing_words)
        return replace(raw, x=x, warnings=warnings, separator=separator)

    def _with_target(
        self, x: pd.DataFrame, target: pd.Series[Any], cells: pd.Series[Any], part: NDArray[Any], tables: Tables
    ) -> Raw:
        from src.data import target as targets

        targets.check_present(target, cells)
        if self.task == "regression":
            y, reading = targets.regression(target, part, self.target_scale, self.hints(tables.separator))
            raw = self._values(x, y, part, reading, int(target.nunique()))
        else:
            labels = targets.labels_of(target, self.target_strip)
            classes = targets.classes_of(labels[part != "test"])
            raw = self._classes(x, targets.class_indices(labels, classes), classes, part)
        return replace(raw, warnings=[*tables.warnings, *raw.warnings], separator=tables.separator)

    def _values(self, x: Any, y: NDArray[np.float64], part: Any, reading: Reading, distinct: int) -> Raw:
        line = self._profile_line(f"number {reading.number.describe()}".strip(), distinct)
        return Raw(x, y, part, self.task, [], [], [line])

    def _classes(self, x: Any, y: NDArray[np.int64], classes: Classes, part: Any) -> Raw:
        from src.data import remarks
        from src.data.target import balance_warning

        warnings = balance_warning(y, classes.names)
        if twins := remarks.alike(classes.names):
            warnings.append(f"classes {twins}: write them alike if they are")
        line = self._profile_line(f"{len(classes.names)} classes", len(classes.names))
        return Raw(x, y, part, self.task, classes.names, classes.values, [line], warnings)

    def _profile_line(self, read_as: str, distinct: int) -> ProfileLine:
        return {
            "column": self.target,
            "kind": "target",
            "read_as": read_as,
            "distinct": distinct,
            "missing": 0,
            "note": "",
        }

    def _inputs(self, names: Iterable[Any]) -> list[Any]:
        """List the names of the columns that a model may see, in their order.

        Raises:
            UserError: there are none.
        """
        inputs = [name for name in names if name not in (self.target, self.split_column, *self.drop)]
        if not inputs:
            raise UserError(
                f"{self.target!r} is the only column that is left: a model needs at least one to learn from"
            )
        return inputs

    def without_missing_words(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Put NaN where a cell of text is a word for a missing value."""
        import pandas as pd

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

    def _check_columns(self, frames: Sequence[pd.DataFrame], paths: Sequence[Path]) -> list[str]:
        """Refuse columns that files lack and the config names; return sentences on their names."""
        from src.data.remarks import invisible_twins

        if len(frames) == 2:
            _check_same_columns(frames[0], frames[1], paths[0], paths[1])
        self._check_names(frames[0], paths[0])
        twins = invisible_twins(map(str, frames[0].columns))
        return [twins] if twins else []

    def _check_names(self, frame: pd.DataFrame, path: Path) -> None:
        for key, names in ("target", [self.target]), ("split_column", [self.split_column]), ("drop", self.drop):
            for name in filter(None, names):
                if name not in frame:
                    raise UserError(f"data.{key} names {name!r}, no column of {path}{self._advice(name, frame)}")
        for name in self.na_values if isinstance(self.na_values, dict) else ():
            if name not in frame:
                raise UserError(
                    f"data.na_values names {name!r}, no column{suggestion(name, frame.columns) or there_are(frame.columns)}"
                )

    def _advice(self, name: str, frame: pd.DataFrame) -> str:
        return suggestion(name, frame.columns) or there_are(frame.columns)


def _check_same_columns(train: pd.DataFrame, test: pd.DataFrame, train_path: Path, test_path: Path) -> None:
    for here, there, path, other in (
        (train.columns, test.columns, test_path, train_path),
        (test.columns, train.columns, train_path, test_path),
    ):
        absent = [name for name in here if name not in there]
        if absent:
            raise UserError(f"{path} lacks the column {absent[0]!r} that {other} has: both must have the same columns")
