"""Tables of text: read, checked, and their columns told apart."""

from __future__ import annotations

import gzip
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data.raw import Column, Raw, Task
from src.system.errors import UserError, did_you_mean


def parts(cells: pd.Series[Any]) -> NDArray[np.str_]:
    """Read the part of each row [N] from a split column: train, val or test.

    Raises:
        UserError: a cell names no part.
    """
    names = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
    part = cells.astype(str).str.lower().map(names)
    if part.isna().any():
        at = int(part.isna().to_numpy().argmax())
        raise UserError(
            f"the split column {cells.name!r} is {cells.iloc[at]!r} in {row_name(cells, at)}: "
            "it must be train, val or test"
        )
    return part.to_numpy(dtype=str)


def table(
    x: pd.DataFrame,
    target: pd.Series[Any],
    part: NDArray[np.str_],
    task: Task,
    categorical: list[str] | None = None,
    target_strip: str = "",
    target_scale: float = 1.0,
) -> Raw:
    if x.columns.empty:
        raise UserError(f"{target.name!r} is the only column that is left: a model needs at least one to learn from")
    check_target(target)
    columns = infer_columns(x, categorical)
    x = conform(x, columns)
    if task == "regression":
        y = (numbers(target).to_numpy() / target_scale).astype(np.float32)
        return Raw(x, y, part, task, [], columns)
    labels = target.astype(str)
    labels = labels.str.strip(target_strip) if target_strip else labels
    names = class_names(labels[part != "test"])
    return Raw(x, class_indices(labels, names), part, task, names, columns)


MISSING = ""  # of a text column; its category has the index 0


# Reading


def read_frame(
    path: Path,
    *,
    separator: str = ",",
    encoding: str = "utf-8-sig",
    na_values: Sequence[str] = (),
    comment: str | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Every cell of a text table as str or NaN; `columns` names those of a file that may lack a header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            cells = pd.read_csv(
                path,
                sep=separator,
                encoding=encoding,
                na_values=list(na_values),
                comment=comment,
                header=None,
                dtype=str,
                skipinitialspace=True,
            )
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty: a header and rows are expected") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {encoding} text ({error.reason}): set data.encoding, e.g. latin-1") from None
    except LookupError:
        raise UserError(f"data.encoding={encoding!r} is not an encoding that Python knows, e.g. utf-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(f"{path} is not a whole gzip file: fetch it again") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path} is not a table: {str(error).strip().split('C error: ')[-1]}") from None
    cells = pd.DataFrame({name: column.str.strip() for name, column in cells.items()})
    first = cells.iloc[0].tolist()
    if columns is None or first == list(columns):
        cells, names = cells.iloc[1:].reset_index(drop=True), first
    else:
        names = list(columns)
    _check_names(names, cells.shape[1], path)
    if cells.empty:
        raise UserError(f"{path} has a header but no rows")
    return cells.set_axis(names, axis="columns")


def _check_names(names: Sequence[Any], width: int, path: Path) -> None:
    if len(names) != width:
        raise UserError(f"data.columns names {len(names)} columns, but {path} has {width}")
    blank = [number for number, name in enumerate(names, 1) if not isinstance(name, str) or not name]
    if blank:
        raise UserError(f"{path}: column {blank[0]} has no name in the header: name it, or save without the row index")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise UserError(f"{path}: the header has the column {repeated[0]!r} more than once: names must differ")


def check_same_columns(train: pd.DataFrame, test: pd.DataFrame, train_path: Path, test_path: Path) -> None:
    for here, there, path, other in (
        (train.columns, test.columns, test_path, train_path),
        (test.columns, train.columns, train_path, test_path),
    ):
        absent = [name for name in here if name not in there]
        if absent:
            raise UserError(f"{path} lacks the column {absent[0]!r} that {other} has: both must have the same columns")


def row_name(frame: pd.DataFrame | pd.Series[Any], position: int) -> str:
    """How a person finds the row: rows of files are indexed by (file name, row number)."""
    label = frame.index[position]
    return f"data row {label[1] + 1} of {label[0]}" if isinstance(label, tuple) else f"row {position + 1}"


# Checking


def infer_columns(frame: pd.DataFrame, categorical: Sequence[str] | None) -> list[Column]:
    """A column is text when `categorical` names it or most of its distinct values are not numbers.

    A few words among many numbers are a mistake in the data, not a category: `conform` names the first.
    """
    for name in categorical or ():
        if name not in frame.columns:
            raise UserError(f"data.categorical names {name!r}, no input column: {did_you_mean(name, frame.columns)}")
    return [
        {"name": name, "dtype": "string" if name in (categorical or ()) or _mostly_text(frame[name]) else "double"}
        for name in frame.columns
    ]


def _mostly_text(cells: pd.Series[Any]) -> bool:
    distinct = pd.Series(cells.dropna().unique())
    return bool(2 * pd.to_numeric(distinct, errors="coerce").isna().sum() > len(distinct))


def conform(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The given columns in order: float64 with NaN, or str objects with MISSING; any other cell is refused."""
    absent = [column["name"] for column in columns if column["name"] not in frame.columns]
    if absent:
        raise UserError(f"the column {absent[0]!r} is missing: {did_you_mean(absent[0], map(str, frame.columns))}")
    return pd.DataFrame(
        {
            column["name"]: (numbers if column["dtype"] == "double" else texts)(frame[column["name"]])
            for column in columns
        }
    )


def numbers(cells: pd.Series[Any]) -> pd.Series[Any]:
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    wrong = (values.isna() & cells.notna()).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise UserError(
            f"column {cells.name!r}, {row_name(cells, at)}: {cells.iloc[at]!r} is not a number "
            "(data.na_values lists the words for a missing one, data.categorical the columns of categories)"
        )
    infinite = np.isinf(values.to_numpy())
    if infinite.any():
        at = int(infinite.argmax())
        raise UserError(f"column {cells.name!r}, {row_name(cells, at)}: the value is infinite: it must be finite")
    return values


def texts(cells: pd.Series[Any]) -> pd.Series[Any]:
    codes, distinct = pd.factorize(cells)  # code -1: missing
    words = np.array([*(_word(value) for value in distinct), MISSING], dtype=object)
    return pd.Series(words[codes], index=cells.index, dtype=object)


def _word(value: Any) -> str:
    """A code 5 that became 5.0 beside a missing one, in memory or in a file, is "5" again."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


# The target


def check_target(labels: pd.Series[Any]) -> None:
    absent = labels.isna().to_numpy()
    if absent.any():
        at = int(absent.argmax())
        raise UserError(f"the target {labels.name!r} has no value in {row_name(labels, at)}: fill it or drop the row")


def class_names(labels: pd.Series[Any]) -> list[str]:
    """In numeric order when all labels are numbers, else in that of their letters."""
    found = sorted(set(labels))
    return found if pd.to_numeric(pd.Series(found), errors="coerce").isna().any() else sorted(found, key=float)


def class_indices(labels: pd.Series[Any], names: Sequence[str]) -> NDArray[np.int64]:
    indices = pd.Index(names).get_indexer(pd.Index(labels)).astype(np.int64)
    if (indices < 0).any():
        at = int((indices < 0).argmax())
        raise UserError(
            f"the target {labels.name!r} is {labels.iloc[at]!r} in {row_name(labels, at)}, "
            f"a label that no training row has: {did_you_mean(labels.iloc[at], names)}"
        )
    return indices
