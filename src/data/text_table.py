"""Tables in text files: encoding and separator recognised, every cell read as text, and what is no table refused."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from src.data.dialect import SEPARATORS, Dialect, encoding_of, first_lines, separator_of
from src.data.raw_file import MOST_COLUMNS, read_bytes
from src.system.errors import UserError

LONGEST_LINE = 1 << 20  # bytes
TOTALS = re.compile(
    r"(grand )?(total|sum|summe|gesamt|insgesamt|average|mean|mittelwert|durchschnitt|somme|suma)s?:?", re.I
)


def read_text_table(path: Path, dialect: Dialect) -> tuple[pd.DataFrame, str, list[str]]:
    """Read a text file.

    Args:
        path: the file, compressed or not.
        dialect: what is known of it.

    Returns:
        A table of text cells (NaN where a row has fewer), its separator, and warnings.

    Raises:
        UserError: it is empty, too large, damaged or no table; the sentence names the key that would help.
    """
    data = read_bytes(path)
    encoding = encoding_of(data, dialect.encoding, path)
    check_lines(data, path)
    head = _head(data, encoding, path)
    separator, skip = separator_of(head, dialect)
    with parsing(path, encoding, dialect):
        cells = pd.read_csv(io.BytesIO(data), **options(separator, encoding, dialect, skip))
    cells, names = checked_names(*without_header(stripped(cells), dialect), path)
    frame = cells.set_axis(names, axis="columns")
    if dialect.columns is None:
        check_first_line(frame, path)
        refuse_repeated_header(frame, path)
        refuse_totals(frame, path)
    may_be_short = (frame.iloc[:, -1] == "").any() and len(separator) == 1 and not dialect.comment
    lines = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
    return frame, separator, short_rows(lines, separator, skip, path) if may_be_short else []


def _head(data: bytes, encoding: str, path: Path) -> list[str]:
    """Return the first lines, after the whole file has been decoded once to see that it can be."""
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        raise _other_encoding(path, encoding, error) from None
    return first_lines(text)


def _other_encoding(path: Path, encoding: str, error: UnicodeError) -> UserError:
    reason = getattr(error, "reason", error)
    return UserError(f"{path} is not {encoding} text ({reason}): set data.encoding, e.g. latin-1")


def check_lines(data: bytes, path: Path) -> None:
    """Refuse a line that no table has, before it is cut into cells.

    Raises:
        UserError: there is one in the `data` of the file at `path`.
    """
    view = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero((view == 10) | (view == 13)) if len(view) else view
    lengths = np.diff(np.concatenate([[-1], ends, [len(view)]]))
    if lengths.max() > LONGEST_LINE:
        line = int(lengths.argmax()) + 1
        raise UserError(
            f"{path}: line {line} has {lengths.max() / 1e6:.1f} MB, more than the {LONGEST_LINE // 2**20} MB that a row may "
            "have: a table has a row a line, and no whole documents in its cells"
        )
    width = max(data[: max(int(lengths[0]), 0)].count(mark.encode()) for mark in SEPARATORS) + 1
    if width > MOST_COLUMNS:
        raise UserError(f"{path} has {width:,} columns, more than {MOST_COLUMNS:,}: leave out those that tell little")


def options(separator: str, encoding: str, dialect: Dialect, skip: int) -> dict[str, Any]:
    """Return the options by which pandas cuts a file into cells of text.

    Args:
        separator: as `separator_of` returns it.
        encoding: of the text.
        dialect: what is known of the file.
        skip: lines before the header.
    """
    python = {"engine": "python"} if dialect.skip_footer or (len(separator) > 1 and separator != r"\s+") else {}
    return {
        "sep": separator,
        "encoding": encoding,
        "keep_default_na": False,
        "comment": dialect.comment,
        "header": None,
        "dtype": str,
        "skipinitialspace": separator != "\t",
        "skiprows": skip,
        "skipfooter": dialect.skip_footer,
        **python,
    }


@contextmanager
def parsing(path: Path, encoding: str, dialect: Dialect) -> Iterator[None]:
    """Make one sentence of what pandas finds wrong with a file inside of the block.

    Raises:
        UserError: the file at `path` is empty, no text in this `encoding`, or no table in this `dialect`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty: a header and rows are expected") from None
    except UnicodeError as error:
        raise _other_encoding(path, encoding, error) from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError, csv.Error) as error:
        raise UserError(_no_table(path, str(error), dialect)) from None


def stripped(cells: pd.DataFrame) -> pd.DataFrame:
    """Take the blanks off both ends of every cell."""
    return pd.DataFrame({name: column.str.strip() for name, column in cells.items()})


def _no_table(path: Path, error: str, dialect: Dialect) -> str:
    """Say what pandas found, with the key that may help."""
    reason = error.strip().split("C error: ")[-1].splitlines()[0].rstrip(".")
    if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", reason):
        if match[2] == "2" and int(match[3]) == int(match[1]) + 1:
            return (
                f"{path} is not a table: {match[0]}; if all rows have one cell more than the header, as where a saved index "
                "has no name, data.skip_rows=1 with data.columns names all of them"
            )
        advice = "lines before the header are left out by data.skip_rows, lines after the last row by data.skip_footer"
        return f"{path} is not a table: {match[0]}; {advice}"
    return f"{path} is not a table: {reason}"


def without_header(cells: pd.DataFrame, dialect: Dialect) -> tuple[pd.DataFrame, list[Any]]:
    """Take the header off rows of `cells`, if there is one; return them with the names that it or the `dialect` says."""
    first = cells.iloc[0].tolist()
    if dialect.columns is None or first == list(dialect.columns):
        return cells.iloc[1:].reset_index(drop=True), first
    return cells, list(dialect.columns)


def checked_names(cells: pd.DataFrame, names: Sequence[Any], path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Check the names; a nameless first column that counts the rows is a saved index, a nameless empty one is dropped.

    Args:
        cells: all rows of the file, or the first ones.
        names: of their columns.
        path: of the file, for errors.

    Raises:
        UserError: a name is missing or comes twice, or there are no rows.
    """
    if len(names) != cells.shape[1]:
        raise UserError(f"data.columns names {len(names)} columns, but {path} has {cells.shape[1]}")
    names = ["" if not isinstance(name, str) else name for name in names]
    empty = [
        at for at, name in enumerate(names) if not name and (cells.iloc[:, at].isna() | (cells.iloc[:, at] == "")).all()
    ]
    if empty and len(cells):
        cells = cells.drop(columns=cells.columns[empty])
        names = [name for at, name in enumerate(names) if at not in empty]
    if names and not names[0] and len(cells) and _counts_rows(cells.iloc[:, 0]):
        names = ["Unnamed: 0", *names[1:]]
    blank = [number for number, name in enumerate(names, 1) if not name]
    if blank:
        raise UserError(f"{path}: column {blank[0]} has no name in the header: name it, or save without the row index")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise UserError(f"{path}: the header has the column {repeated[0]!r} more than once: names must differ")
    if cells.empty:
        raise UserError(f"{path} has a header but no rows")
    return cells, names


def _counts_rows(cells: pd.Series[Any]) -> bool:
    values = pd.to_numeric(cells, errors="coerce")
    return bool((values.diff().dropna() == 1).all() and values.notna().all())


def check_first_line(frame: pd.DataFrame, path: Path) -> None:
    """Refuse a header that looks like the rows of `frame` below it.

    Raises:
        UserError: it does; `path` is that of the file.
    """
    names = list(map(str, frame.columns))
    numeric = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce").notna().to_numpy()
    counts = names in ([str(k) for k in range(len(names))], [str(k + 1) for k in range(len(names))])
    if numeric.any() and not counts:
        alike = (
            pd.to_numeric(frame.iloc[:, at].head(1000), errors="coerce").notna().mean() > 0.5
            if is_number
            else names[at] in set(frame.iloc[:, at])
            for at, is_number in enumerate(numeric)
        )
        if all(alike):
            letters = ", ".join(f"x{k + 1}" for k in range(len(names) - 1))
            raise UserError(
                f"{path}: its first line ({', '.join(names[:4])}) looks like a row and not like a header: if there is none, "
                f"name its columns, such as 'data.columns=[{letters}, y]'"
            )


def refuse_repeated_header(frame: pd.DataFrame, path: Path) -> None:
    """Refuse a row of `frame` that is the header again.

    Raises:
        UserError: it names the row of the file at `path`.
    """
    again = (frame == list(map(str, frame.columns))).all(axis="columns").to_numpy()
    if again.any():
        row = int(frame.index[int(again.argmax())]) + 1
        raise UserError(f"{path}: data row {row} is the header again, as where files were joined: delete it")


def refuse_totals(frame: pd.DataFrame, path: Path) -> None:
    """Refuse a last row of `frame` that looks like totals.

    Raises:
        UserError: it does; `path` is that of the file.
    """
    last = [cell for cell in frame.iloc[-1] if isinstance(cell, str)]
    total = next((cell for cell in last if TOTALS.fullmatch(cell)), None)
    if total is not None and len(frame) > 1 and not _is_common(frame, total):
        raise UserError(
            f"{path}: its last row ({total!r}) looks like a footer and not like a row: data.skip_footer=1 leaves it out"
        )


def _is_common(frame: pd.DataFrame, cell: str) -> bool:
    return bool((frame.iloc[:-1] == cell).any(axis=None))


def short_rows(lines: TextIO, separator: str, skip: int, path: Path) -> list[str]:
    """Warn of rows with fewer cells than the first, whose last cells are missing then.

    Args:
        lines: the file as text.
        separator: of cells.
        skip: lines before the header.
        path: of the file, for its name.
    """
    for _ in range(skip):
        lines.readline()
    number, first, width, count = -1, 0, 0, 0
    try:
        for row in csv.reader(lines, delimiter=separator, skipinitialspace=True):
            number += bool(row)
            width = width or len(row)
            if row and len(row) < width:
                first, count = first or number, count + 1
    except csv.Error:  # pandas reads what this reader does not
        return []
    if not count:
        return []
    return [
        f"{path.name}: {count} rows have fewer cells than the first line, the first is data row {first}: "
        "what they lack is missing"
    ]
