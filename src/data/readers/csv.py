"""Tables in text files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from src.data.table_reader import TableFileReader, Tables

if TYPE_CHECKING:
    import pandas as pd

    from src.data.dialect import Dialect
    from src.data.large_table import Chunks


class Csv(TableFileReader):
    """A table in a text file: cells between separators, a row a line, compressed or not."""

    # pandas' own words for a missing value
    missing_words: ClassVar[frozenset[str]] = frozenset(
        (
            *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
            *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
        )
    )

    reader: Literal["csv"]
    separator: Annotated[str, Field(min_length=1)] | None
    encoding: str | None
    comment: Annotated[str, Field(min_length=1, max_length=1)] | None
    columns: list[str] | None
    skip_rows: Annotated[int, Field(ge=0)]
    skip_footer: Annotated[int, Field(ge=0)]

    def frames(self, paths: Sequence[Path]) -> Tables:
        """Read text files, every cell as text."""
        from src.data.text_table import read_text_table

        frames, separators, warnings = zip(*(read_text_table(path, self._dialect) for path in paths), strict=True)
        return Tables(list(frames), separators[0], [sentence for each in warnings for sentence in each])

    def in_chunks(self, paths: Sequence[Path]) -> Sequence[Chunks]:
        """Open text files of which one is large, every cell as text."""
        from src.data.large_table import MOST_CELLS
        from src.data.raw_file import MOST_COLUMNS, has_more_lines, may_have_more_bytes
        from src.data.text_chunks import TextChunks

        least = MOST_CELLS // MOST_COLUMNS  # lines
        if not any(may_have_more_bytes(path, MOST_CELLS) and has_more_lines(path, least) for path in paths):
            return []
        files = [TextChunks(path, self._dialect) for path in paths]
        return files if any(file.has_more_cells(MOST_CELLS) for file in files) else []

    @property
    def _dialect(self) -> Dialect:
        from src.data.dialect import Dialect

        return Dialect(self.separator, self.encoding, self.comment, self.columns, self.skip_rows, self.skip_footer)

    def _advice(self, name: str, frame: pd.DataFrame) -> str:
        if frame.shape[1] == 1:
            return "; it has one column only, so cells are separated by something else: set data.separator"
        return super()._advice(name, frame)
