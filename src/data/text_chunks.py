"""Text tables that are read piece by piece, for files of more rows than memory has room for."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from src.data import text_table
from src.data.dialect import HEAD, Dialect, encoding_of, first_lines, separator_of
from src.data.large_table import rows_at_once
from src.data.raw_file import has_more_lines, opened
from src.system.errors import UserError

FIRST_ROWS = 10_000  # by which columns get their names


class TextChunks:
    """A text table, every cell of it text: `names` of its columns, and the `separator` of cells."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        """Recognise how the file is written by its first rows.

        Args:
            path: the file, compressed or not.
            dialect: what is known of it.

        Raises:
            UserError: it is damaged or no table; the sentence names the key that would help.
        """
        self._path, self._dialect = path, dialect
        with opened(path) as file:
            data = file.read(4 * HEAD)
        self._encoding = encoding_of(data, dialect.encoding, path)
        text_table.check_lines(data, path)
        with text_table.parsing(path, self._encoding, dialect):
            text = codecs.getincrementaldecoder(self._encoding)().decode(data)
        self.separator, self._skip = separator_of(first_lines(text), dialect)
        self._ends_empty = self._looked = False
        rows = next(self._pieces(FIRST_ROWS))
        cells, names = text_table.without_header(rows, dialect)
        self._header, width = len(rows) - len(cells), cells.shape[1]
        cells, self.names = text_table.checked_names(cells, names, path)
        self._places = [int(place) for place in cells.columns]
        self._nameless = sorted({*range(width)} - {*self._places})
        self._first_rows = cells.set_axis(self.names, axis="columns")

    def has_more_cells(self, most: int) -> bool:
        """Tell whether the file has more cells than `most`, by its lines, without reading on once it has."""
        return has_more_lines(self._path, most // len(self.names))

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows in pieces, indexed by their numbers from 0.

        Args:
            columns: those that are read; None: all, and what is no row is refused.

        Raises:
            UserError: the file is damaged or no table.
        """
        if self._dialect.skip_footer:
            raise UserError(
                f"data.skip_footer: {self._path} is a large table, which is read piece by piece: delete its last lines"
            )
        if self._dialect.columns is None:
            text_table.check_first_line(self._first_rows, self._path)
        places = [self._places[self.names.index(name)] for name in self.names if columns is None or name in columns]
        names = [self.names[self._places.index(place)] for place in places]
        last, before = self._places[-1], None
        for cells in self._pieces(rows_at_once(len(self.names)), sorted({*places, last, *self._nameless})):
            rows = cells[cells.index >= self._header]
            rows = rows.set_axis(rows.index - self._header, axis="index")
            self._refuse_nameless(rows)
            self._ends_empty |= bool((rows[last] == "").any())
            frame = rows[places].set_axis(names, axis="columns")
            if self._dialect.columns is None:
                self._refuse_repeated_header(frame, columns is None)
            if before is not None:
                yield before
            before = frame
        if before is None:
            return
        if columns is None and self._dialect.columns is None:
            text_table.refuse_totals(before, self._path)
        yield before

    def warnings(self) -> list[str]:
        """Warn of rows with fewer cells than the first, once `chunks` has come to the end of the file."""
        if not self._ends_empty or len(self.separator) > 1 or self._dialect.comment:
            return []
        with opened(self._path) as file, io.TextIOWrapper(file, encoding=self._encoding, newline="") as lines:
            return text_table.short_rows(lines, self.separator, self._skip, self._path)

    def _pieces(self, rows: int, places: list[int] | None = None) -> Iterator[pd.DataFrame]:
        """Yield so many `rows` at once, a header among the first: all cells, or those of the columns at `places`."""
        options = text_table.options(self.separator, self._encoding, self._dialect, self._skip)
        del options["skipfooter"]
        with opened(self._path) as file:
            with text_table.parsing(self._path, self._encoding, self._dialect):
                reader = pd.read_csv(file, **options, chunksize=rows, usecols=places)
            while True:
                with text_table.parsing(self._path, self._encoding, self._dialect):
                    cells = next(reader, None)
                if cells is None:
                    return
                yield text_table.stripped(cells)

    def _refuse_repeated_header(self, frame: pd.DataFrame, is_whole: bool) -> None:
        """Refuse a row that is the header again; where a `frame` of some columns looks so, all of them are read once."""
        if is_whole:
            text_table.refuse_repeated_header(frame, self._path)
        elif not self._looked and (frame == list(frame.columns)).all(axis="columns").any():
            self._looked = True
            for _ in self.chunks():
                pass

    def _refuse_nameless(self, rows: pd.DataFrame) -> None:
        for place in self._nameless:
            filled = (rows[place].notna() & (rows[place] != "")).to_numpy()
            if filled.any():
                row = int(rows.index[int(filled.argmax())]) + 1
                raise UserError(
                    f"{self._path}: column {place + 1} has no name in the header, but a cell in data row {row}: name it"
                )
