"""Tables in Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from src.data.raw_file import MOST_COLUMNS, available_memory, check_size
from src.data.table_reader import TableFileReader, Tables
from src.system.errors import UserError, first_line

if TYPE_CHECKING:
    import pandas as pd


COPIES = 3  # of a table in memory until it is prepared


class Parquet(TableFileReader):
    """A table in a Parquet file, whose columns have types of their own."""

    reader: Literal["parquet"]

    def frames(self, paths: Sequence[Path]) -> Tables:
        """Read Parquet files, every cell of its column's type."""
        return Tables([_read(path) for path in paths])


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        import pyarrow as pa
        import pyarrow.parquet as pq

        metadata = pq.ParquetFile(path).metadata
        if metadata.num_columns > MOST_COLUMNS:
            raise UserError(f"{path} has {metadata.num_columns:,} columns, more than {MOST_COLUMNS:,}: leave some out")
        groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
        check_size(path, max(sum(g.total_byte_size for g in groups), metadata.num_rows), available_memory() // COPIES)
        frame = pd.read_parquet(path, engine="pyarrow").reset_index(drop=True)
    except ImportError:
        raise UserError("data.reader=parquet needs pyarrow: pip install -e '.[parquet]'") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole Parquet file: {first_line(error)}") from None
    if frame.empty:
        raise UserError(f"{path} has columns but no rows")
    return frame.set_axis(frame.columns.map(str), axis="columns")
