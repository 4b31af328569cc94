"""Parquet files that are read piece by piece, for those of more rows than memory has room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from src.data.large_table import rows_at_once
from src.data.raw_file import MOST_COLUMNS
from src.system.errors import UserError, first_line

BUFFER = 2**20  # bytes of a column that are read at once


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file, and make one sentence of what is wrong with it inside of the block.

    Raises:
        UserError: it is damaged or too wide, or there is no pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError("data.reader=parquet needs pyarrow: pip install -e '.[parquet]'") from None
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            if file.metadata.num_columns > MOST_COLUMNS:
                raise UserError(
                    f"{path} has {file.metadata.num_columns:,} columns, more than {MOST_COLUMNS:,}: leave some out"
                )
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole Parquet file: {first_line(error)}") from None


class ParquetChunks:
    """A Parquet file with columns of types of their own: `names` of its columns, and the number of its cells."""

    def __init__(self, path: Path) -> None:
        """Read what the file at `path` says of itself.

        Raises:
            UserError: it is damaged, or there is no pyarrow.
        """
        self._path = path
        with opened(path) as file:
            columns = file.schema_arrow.empty_table().to_pandas().columns
            self.n_cells = int(file.metadata.num_rows * file.metadata.num_columns)
        self._columns = {str(name): name for name in columns}
        self.names = [*self._columns]

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows in pieces, indexed by their numbers from 0.

        Args:
            columns: those that are read; None: all.

        Raises:
            UserError: the file is damaged.
        """
        wanted = [str(self._columns[name]) for name in columns or self.names]
        start = 0
        with opened(self._path) as file:
            for batch in file.iter_batches(rows_at_once(len(self.names)), columns=wanted, use_threads=False):
                frame = batch.to_pandas()
                frame = frame.set_axis(frame.columns.map(str), axis="columns")
                yield frame.set_axis(pd.RangeIndex(start, start + len(frame)), axis="index")
                start += len(frame)

    def warnings(self) -> list[str]:
        """Return no sentences: the types leave nothing to be seen on the way."""
        return []
