"""Tables in Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from src.data.table_reader import TableFileReader, Tables
from src.system.errors import UserError, first_line

if TYPE_CHECKING:
    import pandas as pd


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

        frame = pd.read_parquet(path, engine="pyarrow").reset_index(drop=True)
    except ImportError:
        raise UserError("data.reader=parquet needs pyarrow: pip install -e '.[parquet]'") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole Parquet file: {first_line(error)}") from None
    if frame.empty:
        raise UserError(f"{path} has columns but no rows")
    return frame.set_axis(frame.columns.map(str), axis="columns")
