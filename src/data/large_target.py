"""The target of a table that is read piece by piece: its column alone, of every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data import target as targets
from src.data.columns import Reading
from src.data.inference import Hints, number_reading
from src.data.large_table import Chunks
from src.data.splitting import PARTS, parts_of
from src.data.target import Classes
from src.system.errors import UserError

MOST_LABELS = 100_000  # that differ
WORDS = 4096  # of a piece, by which the format of numbers is inferred


class LargeTarget:
    """The target of files, and the `part` of each row [N] by them, once it is read."""

    def __init__(
        self,
        files: Sequence[tuple[str, Chunks]],
        target: str,
        split_column: str | None,
        clean: Callable[[pd.DataFrame], pd.DataFrame],
    ) -> None:
        """Take in where the target stands.

        Args:
            files: each with its name; a second one has the test rows.
            target: the column's name.
            split_column: that of the column which says the part, if there is one.
            clean: puts NaN where a word stands for a missing value.
        """
        self._files, self._target, self._split_column, self._clean = files, target, split_column, clean
        self.part: Any = None

    def classes(self, strip: str) -> tuple[NDArray[np.int64], Classes]:
        """Read indices of classes [N], and the classes that rows other than test rows have, however rare.

        Args:
            strip: characters that are taken off both ends of a label.

        Raises:
            UserError: a row has none, a test row has another one, or there are far too many.
        """
        labels, parts, codes = _Labels(), [], []
        for cells, part in self._pieces():
            codes.append(labels.codes(cells))
            parts.append(part)
        self.part = _joined(parts)
        whole = np.concatenate(codes)
        distinct = targets.labels_of(labels.distinct(self._target), strip)
        present = np.bincount(whole[self.part != "test"], minlength=len(distinct)) > 0
        classes = targets.classes_of(distinct[present])
        return targets.class_indices(distinct, classes)[whole], classes

    def regression(self, scale: float, hints: Hints) -> tuple[NDArray[np.float64], Reading]:
        """Read numbers [N] as `src.data.target.regression` does, by the format of some cells of every piece.

        Args:
            scale: what they are divided by.
            hints: what the config says of numbers.

        Raises:
            UserError: one is missing, is no number in this format, is infinite, or is too large.
        """
        words, parts = [], []
        for cells, part in self._pieces():
            fitted = cells[part != "test"]
            words.append(fitted.iloc[:: -(-len(fitted) // WORDS) or 1])
            parts.append(part)
        self.part = _joined(parts)
        reading = number_reading(pd.concat(words), hints)
        values, lossy = [], []
        for cells, _ in self._pieces():
            values.append(targets.values(cells, reading, scale))
            lossy.append(targets.most_lossy(cells))
        y = np.concatenate(values)
        targets.refuse_lost_digits(self._target, max(lossy), float(y.std()) * scale)
        return y, reading

    def _pieces(self) -> Iterator[tuple[pd.Series[Any], Any]]:
        names = [self._target, *filter(None, [self._split_column])]
        for (name, file), of_file in zip(self._files, ("train", "test"), strict=False):
            for chunk in file.chunks(names):
                raw = pd.concat([chunk], keys=[name])
                cells = self._clean(raw)
                targets.check_present(cells[self._target], raw[self._target])
                part = [of_file] * len(cells) if self._split_column is None else parts_of(cells[self._split_column])
                yield cells[self._target], pd.Categorical(part, PARTS)


class _Labels:
    """The distinct cells of pieces, each with the first row that has it."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}
        self._rows: list[Any] = []
        self._dtype: Any = object

    def codes(self, cells: pd.Series[Any]) -> NDArray[np.int32]:
        """Return the place of each cell [N] among the distinct ones."""
        typed = pd.api.types.is_bool_dtype(cells.dtype) or pd.api.types.is_numeric_dtype(cells.dtype)
        self._dtype = cells.dtype if typed else object
        codes, distinct = pd.factorize(cells)
        for cell, row in zip(distinct, np.unique(codes, return_index=True)[1], strict=True):
            if cell not in self._places:
                self._places[cell] = len(self._places)
                self._rows.append(cells.index[row])
        if len(self._places) > MOST_LABELS:
            raise UserError(
                f"the target {cells.name!r} has more than {MOST_LABELS:,} different labels: "
                "a number to predict is data.task=regression"
            )
        return np.array([self._places[cell] for cell in distinct], np.int32)[codes]

    def distinct(self, name: str) -> pd.Series[Any]:
        """Return the distinct cells as a column `name`, indexed by (file name, row number)."""
        return pd.Series([*self._places], pd.MultiIndex.from_tuples(self._rows), self._dtype, name=name)


def _joined(parts: Sequence[Any]) -> Any:
    codes: NDArray[np.int8] = np.concatenate([part.codes for part in parts])
    return pd.Categorical.from_codes(codes, pd.Index(PARTS))
