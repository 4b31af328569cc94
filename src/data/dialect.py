"""The dialect of a text table: what a person says of it, and what its first lines show."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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


def encoding_of(data: bytes, encoding: str | None, path: Path) -> str:
    """Recognise the encoding of a file by its first bytes.

    Args:
        data: the bytes.
        encoding: as a person says it; None: it is recognised.
        path: of the file, for errors.

    Raises:
        UserError: there is no such encoding, or the file is no text.
    """
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


def first_lines(text: str) -> list[str]:
    """Return the first lines of a text, by which its separator is recognised."""
    return text[:HEAD].lstrip("\ufeff").splitlines()[: SAMPLE + 1]


def separator_of(head: Sequence[str], dialect: Dialect) -> tuple[str, int]:
    """Recognise the separator by the first lines `head`; returns it with the number of lines before the header."""
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
