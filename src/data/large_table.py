"""Tables of more cells than memory has room for: read piece by piece, as often as their rows are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_CELLS = 2**25  # of a table that is read at once
SAMPLE_CELLS = 2**23  # of the rows by which columns of a larger one are inferred, and preprocessing is fitted
PIECE_CELLS = 2**21  # of a piece


class Chunks(Protocol):
    """A file of rows that is read piece by piece, whatever its format."""

    @property
    def names(self) -> Sequence[str]:
        """The names of its columns."""

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield all rows in pieces, indexed by their numbers from 0: those `columns`, or all."""

    def warnings(self) -> list[str]:
        """Return sentences for the person who prepares the file, once `chunks` has come to its end."""


def rows_at_once(n_columns: int) -> int:
    """Return how many rows of so many columns a piece has."""
    return max(1, PIECE_CELLS // max(1, n_columns))


@dataclass(frozen=True)
class LargeTable:
    """The rows of files, one after the other, as a DataFrame of all of them has them.

    Args:
        files: each with its name.
        columns: those that the rows have, in this order.
        clean: puts NaN where a word stands for a missing value.
    """

    files: Sequence[tuple[str, Chunks]]
    columns: Sequence[str]
    clean: Callable[[pd.DataFrame], pd.DataFrame]

    @property
    def sample_rows(self) -> int:
        """The number of training rows by which columns are inferred and preprocessing is fitted."""
        return max(1, SAMPLE_CELLS // len(self.files[0][1].names))

    def chunks(self) -> Iterator[pd.DataFrame]:
        """Yield the rows in pieces, indexed by (file name, row number)."""
        for name, file in self.files:
            for chunk in file.chunks():
                yield self.clean(pd.concat([chunk[list(self.columns)]], keys=[name]))

    def take(self, rows: NDArray[np.intp], axis: Literal[0] = 0) -> pd.DataFrame:
        """Read the rows at ascending places; `axis` is 0, as of a DataFrame."""
        taken, start = [], 0
        for chunk in self.chunks():
            places = within(rows, start, len(chunk))
            if len(places):
                taken.append(chunk.take(places, axis=axis))
            start += len(chunk)
            if start > rows[-1]:
                break
        return pd.concat(taken)


def pieces(x: Any) -> Iterator[Any]:
    """Yield the rows of a reader in the pieces in which they are in memory: all at once but of a large table."""
    if isinstance(x, LargeTable):
        yield from x.chunks()
    else:
        yield x


def within(rows: NDArray[np.intp], start: int, count: int) -> NDArray[np.intp]:
    """Return the places, in a piece of `count` rows that begins at `start`, of those of the ascending `rows` that it has."""
    first, end = np.searchsorted(rows, [start, start + count])
    return rows[first:end] - start


def sampled(x: Any, n_train: int, seed: int) -> NDArray[np.intp] | slice:
    """Choose the places, among `n_train` training rows of `x`, of those that are fitted on.

    They are all, but of a large table, of which a sample is drawn by `seed`.
    """
    if not isinstance(x, LargeTable) or n_train <= x.sample_rows:
        return slice(None)
    return np.sort(np.random.default_rng([seed, n_train]).choice(n_train, x.sample_rows, replace=False))
