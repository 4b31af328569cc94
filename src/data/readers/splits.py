"""Tables of numbers with fixed splits."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.data.raw import Raw
from src.data.reader import TableReader
from src.system.errors import UserError


class Splits(TableReader):
    """A table of numbers with fixed train and test rows, in the files of Gal & Ghahramani (2016)."""

    reader: Literal["splits"]
    test_fraction: None
    split: Annotated[int, Field(ge=0)]

    @property
    def files(self) -> list[str]:
        """List the table and the files of indices."""
        return ["data.txt", *(f"index_{part}.txt" for part in self._index_files)]

    @property
    def _index_files(self) -> list[str]:
        return ["features", "target", f"train_{self.split}", f"test_{self.split}"]

    def read(self) -> Raw:
        """Read the table and choose its training and test rows.

        Raises:
            UserError: a file is missing or damaged, or a row is in both parts.
        """
        import pandas as pd

        from src.data.columns import numbers
        from src.data.dialect import Dialect
        from src.data.target import check_present
        from src.data.text_table import read_text_table

        path = self.find("data.txt")
        with path.open(encoding="utf-8", errors="replace") as file:
            names = [f"f{number}" for number in range(len(file.readline().split()))]
        cells, *_ = read_text_table(path, Dialect(r"\s+", columns=names))
        features, target = (self._indices(f"index_{name}.txt", len(names)) for name in ("features", "target"))
        train, test = (self._indices(f"index_{name}_{self.split}.txt", len(cells)) for name in ("train", "test"))
        both = np.intersect1d(train, test)
        if len(both):
            raise UserError(f"{path.parent}: row {both[0]} is both a training and a test row of split {self.split}")
        frame = pd.concat([cells], keys=[path.name]).iloc[np.concatenate([train, test])]
        part = np.repeat(["train", "test"], [len(train), len(test)])
        labels = frame.iloc[:, target[0]]
        check_present(labels)
        x = frame.iloc[:, features].apply(numbers)
        return Raw(x, numbers(labels).to_numpy(), part, "regression", [])

    def _indices(self, file: str, end: int) -> NDArray[np.intp]:
        path = self.find(file)
        try:
            indices = np.array(path.read_text(encoding="utf-8").split(), np.float64).astype(np.intp)
        except ValueError:
            indices = np.array([-1])
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= end:
            raise UserError(f"{path} must hold numbers from 0 to {end - 1} and no others")
        return indices
