"""Tables in text files: encoding and separator recognised, every cell read as text, and what is no table refused."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.data.raw_file import MOST_COLUMNS, read_bytes
from src.system.errors import UserError

MARKS = {  # at the start of a file, and the encoding that they mean; the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEPARATORS = ("\t", ";", "|", ",")
ESCAPES = {r"\t": "\t", "tab": "\t", "\\\\t": "\t"}
SAMPLE = 60  # lines by which the separator is recognised
HEAD = 1 << 18  # bytes that hold them
LONGEST_LINE = 1 << 20  # bytes
TOTALS = re.compile(
    r"(grand )?(total|sum|summe|gesamt|insgesamt|average|mean|mittelwert|durchschnitt|somme|suma)s?:?", re.I
)


@dataclass(frozen=True)
class Dialect:
    """The way in which a text table is written; None: it is recognised.

    Args:
        separator: of cells; a regular expression, as pandas takes it, or `\\t`.
        encoding: of the text.
        comment: a character whose rest of the line is no data.
        columns: the names of all columns, of a file that may lack a header.
        skip_rows: lines before the header.
        skip_footer: lines at the end that are no rows.
    """

    separator: str | None = None
    encoding: str | None = None
    comment: str | None = None
    columns: Sequence[str] | None = None
    skip_rows: int = 0
    skip_footer: int = 0


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
    encoding = _encoding(data, dialect.encoding, path)
    _check_lines(data, path)
    head = _head(data, encoding, path)
    separator, skip = _separator(head, dialect)
    cells = _cells(data, path, separator, encoding, dialect, skip)
    first = cells.iloc[0].tolist()
    if dialect.columns is None or first == list(dialect.columns):
        cells, names = cells.iloc[1:].reset_index(drop=True), first
    else:
        names = list(dialect.columns)
    cells, names = _named(cells, names, path)
    frame = cells.set_axis(names, axis="columns")
    if frame.empty:
        raise UserError(f"{path} has a header but no rows")
    if dialect.columns is None:
        _check_header(frame, path)
    may_be_short = (cells.iloc[:, -1] == "").any() and len(separator) == 1 and not dialect.comment
    return frame, separator, _short_rows(data, encoding, separator, skip, path) if may_be_short else []


def _encoding(data: bytes, encoding: str | None, path: Path) -> str:
    if encoding is not None:
        try:
            "".encode(encoding)  # a codec of bytes, as base64, is refused here too
        except (LookupError, UnicodeError):
            raise UserError(f"data.encoding={encoding!r} is not an encoding that Python knows, e.g. utf-8") from None
        return encoding
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return name
    if b"\0" in data[:HEAD]:
        nul = np.frombuffer(data[:HEAD], np.uint8) == 0
        even, odd = nul[::2].mean(), nul[1::2].mean()
        if max(even, odd) > 0.4 and min(even, odd) < 0.1:
            return "utf-16-le" if odd > even else "utf-16-be"
        raise UserError(f"{path} holds bytes of zero, so it is no text file; if it is, set data.encoding")
    return "utf-8"


def _head(data: bytes, encoding: str, path: Path) -> list[str]:
    """Return the first lines, after the whole file has been decoded once to see that it can be."""
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        raise UserError(
            f"{path} is not {encoding} text ({getattr(error, 'reason', error)}): set data.encoding, e.g. latin-1"
        ) from None
    return text[:HEAD].lstrip("\ufeff").splitlines()[: SAMPLE + 1]


def _check_lines(data: bytes, path: Path) -> None:
    """Refuse a line that no table has, before it is cut into cells."""
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


def _separator(head: Sequence[str], dialect: Dialect) -> tuple[str, int]:
    """Recognise the separator; returns it with the number of lines before the header."""
    lines, skip = list(head[dialect.skip_rows :]), dialect.skip_rows
    if lines and (match := re.fullmatch(r'"?sep=(.)"?', lines[0].strip("\r\n"))):
        return match[1] if dialect.separator is None else _said(dialect.separator), skip + 1
    if dialect.separator is not None:
        return _said(dialect.separator), skip
    if dialect.comment:
        lines = [line.partition(dialect.comment)[0] for line in lines]
    lines = [line for line in lines if line.strip()]
    if len(head) > SAMPLE or len(lines) > 2:
        lines = lines[:SAMPLE]
    widths = {separator: [len(row) for row in csv.reader(lines, delimiter=separator)] for separator in SEPARATORS}
    scores = {s: (n.count(n[0]) / len(n), SEPARATORS.index(s) * -1) for s, n in widths.items() if n and n[0] > 1}
    if scores:
        return max(scores, key=lambda separator: scores[separator]), skip
    blanks = {len(line.split()) for line in lines}
    return (r"\s+" if len(blanks) == 1 and blanks != {1} and blanks else ","), skip


def _said(separator: str) -> str:
    """Return a separator as pandas takes it; what would match nothing at all, as the expression `||` does, is a text."""
    separator = ESCAPES.get(separator, separator)
    try:
        matches_nothing = re.fullmatch(separator, "") is not None
    except re.error as error:
        if len(separator) == 1:
            return separator
        raise UserError(f"data.separator={separator!r} is no regular expression ({error})") from None
    return re.escape(separator) if matches_nothing and len(separator) > 1 else separator


def _cells(data: bytes, path: Path, separator: str, encoding: str, dialect: Dialect, skip: int) -> pd.DataFrame:
    """Cut a file into cells of text."""
    python = {"engine": "python"} if dialect.skip_footer or (len(separator) > 1 and separator != r"\s+") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            cells = pd.read_csv(  # type: ignore[call-overload]
                io.BytesIO(data),
                sep=separator,
                encoding=encoding,
                keep_default_na=False,
                comment=dialect.comment,
                header=None,
                dtype=str,
                skipinitialspace=separator != "\t",
                skiprows=skip,
                skipfooter=dialect.skip_footer,
                **python,
            )
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty: a header and rows are expected") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError, csv.Error) as error:
        raise UserError(_no_table(path, str(error), dialect)) from None
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


def _named(cells: pd.DataFrame, names: Sequence[Any], path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Check the names; a nameless first column that counts the rows is a saved index, a nameless empty one is dropped."""
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
    return cells, names


def _counts_rows(cells: pd.Series[Any]) -> bool:
    values = pd.to_numeric(cells, errors="coerce")
    return bool((values.diff().dropna() == 1).all() and values.notna().all())


def _check_header(frame: pd.DataFrame, path: Path) -> None:
    """Refuse a first line that looks like the others, a header that comes again, and a last row of totals."""
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
    again = (frame == names).all(axis="columns").to_numpy()
    if again.any():
        raise UserError(
            f"{path}: data row {int(again.argmax()) + 1} is the header again, as where files were joined: delete it"
        )
    last = [cell for cell in frame.iloc[-1] if isinstance(cell, str)]
    total = next((cell for cell in last if TOTALS.fullmatch(cell)), None)
    if total is not None and len(frame) > 1 and not _is_common(frame, total):
        raise UserError(
            f"{path}: its last row ({total!r}) looks like a footer and not like a row: data.skip_footer=1 leaves it out"
        )


def _is_common(frame: pd.DataFrame, cell: str) -> bool:
    return bool((frame.iloc[:-1] == cell).any(axis=None))


def _short_rows(data: bytes, encoding: str, separator: str, skip: int, path: Path) -> list[str]:
    """Warn of rows with fewer cells than the first, whose last cells are missing then."""
    lines = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
    for _ in range(skip):
        lines.readline()
    try:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if row]
    except csv.Error:  # pandas reads what this reader does not
        return []
    short = [at for at, width in enumerate(widths) if width < widths[0]]
    if not short:
        return []
    return [
        f"{path.name}: {len(short)} rows have fewer cells than the first line, the first is data row {short[0]}: "
        "what they lack is missing"
    ]
