"""Tables as CSV files, in which no text can pass for a formula of a spreadsheet."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.system.checksums import read_checked

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write a table as CSV: a header, then a line for each of `rows`; a cell that a row lacks is empty.

    A text of `columns` or cells that a spreadsheet would run as a formula (`=cmd|…`) gets an apostrophe before it, which
    `read_csv` removes again.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_escaped, columns))
    writer.writerows([_escaped(row.get(column, "")) for column in columns] for row in rows)
    return file.getvalue()


def read_csv(path: Path, advice: str) -> list[dict[str, str]]:
    """Read a table that `csv_text` wrote: its rows by the names of the columns; without the file, none.

    Raises:
        UserError: it has changed since it was written; it ends with `advice`.
    """
    if not path.exists():
        return []
    file = io.StringIO(read_checked(path, advice).decode(), newline="")
    columns, *rows = [[_plain(cell) for cell in row] for row in csv.reader(file)] or [[]]
    return [dict(zip(columns, row, strict=False)) for row in rows]


def _escaped(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) and not _is_number(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
