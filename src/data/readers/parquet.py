"""Tables in Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from src.data.raw_file import available_memory, check_size
from src.data.table_reader import TableFileReader, Tables
from src.system.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from src.data.large_table import Chunks


COPIES = 3  # of a table in memory until it is prepared


class Parquet(TableFileReader):
    """A table in a Parquet file, whose columns have types of their own."""

    reader: Literal["parquet"]

    def frames(self, paths: Sequence[Path]) -> Tables:
        """Read Parquet files, every cell of its column's type."""
        return Tables([_read(path) for path in paths])

    def in_chunks(self, paths: Sequence[Path]) -> Sequence[Chunks]:
        """Open Parquet files of which one is large by its own counts."""
        from src.data.large_table import MOST_CELLS
        from src.data.parquet_chunks import ParquetChunks

        files = [ParquetChunks(path) for path in paths]
        return files if any(file.n_cells > MOST_CELLS for file in files) else []


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    from src.data.parquet_chunks import opened

    with opened(path) as file:
        groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
        size = max(sum(g.total_byte_size for g in groups), file.metadata.num_rows)
        check_size(path, size, available_memory() // COPIES)
        frame = pd.read_parquet(path, engine="pyarrow").reset_index(drop=True)
    if frame.empty:
        raise UserError(f"{path} has columns but no rows")
    return frame.set_axis(frame.columns.map(str), axis="columns")
