"""The split of a data set into training, validation and test rows."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from src.data.raw import Raw
from src.data.reader import Reader
from src.system.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "val", "test")
WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split(raw: Raw, reader: Reader) -> dict[str, NDArray[np.intp]]:
    """Choose the rows of each part, in the order of the files: as the files say, else drawn, classes in proportion.

    Fractions are of all rows that are no test rows by the files; `reader.rows` keeps that many of the training rows.

    Raises:
        UserError: there are too few rows, of all or of a class.
    """
    from sklearn.model_selection import train_test_split

    rows = {part: np.flatnonzero(raw.part == part) for part in PARTS}
    pool = rows["train"]
    draws = {part: ceil(fraction * len(pool)) for part, fraction in _fractions(reader).items() if not len(rows[part])}
    _check_pool(raw, pool, draws)
    for part, size in draws.items():
        classes = raw.y[rows["train"]] if raw.class_names else None
        try:
            train, chosen = train_test_split(rows["train"], test_size=size, random_state=reader.seed, stratify=classes)
        except ValueError as error:  # too few of a class, or of all
            why = str(error).split(".")[0]
            raise UserError(
                f"data.{part}_fraction: {size} rows cannot be drawn, classes in proportion ({why})"
            ) from None
        rows |= {"train": np.sort(train), part: np.sort(chosen)}
    if reader.rows is not None:
        if reader.rows > len(rows["train"]):
            raise UserError(f"data.rows={reader.rows}, but there are only {len(rows['train'])} training rows")
        rows["train"] = np.sort(np.random.default_rng(reader.seed).permutation(rows["train"])[: reader.rows])
    _check_classes(raw, {part: rows[part] for part in ("train", *draws)})
    return rows


def _fractions(reader: Reader) -> dict[str, float]:
    return {"test": reader.test_fraction or 0.0, "val": reader.val_fraction}


def _check_pool(raw: Raw, pool: NDArray[np.intp], draws: Mapping[str, int]) -> None:
    for part, size in draws.items():
        if size == 0:
            raise UserError(f"data.{part}_fraction must be given: the files name no {part} rows")
        if size < len(raw.class_names):
            regression = "; a number to predict is data.task=regression" if 2 * len(raw.class_names) > len(pool) else ""
            raise UserError(
                f"data.{part}_fraction gives {size} rows, fewer than the {len(raw.class_names)} classes{regression}"
            )
    if len(pool) <= sum(draws.values()):
        raise UserError(f"{len(pool)} rows are too few: {sum(draws.values())} go to {' and '.join(draws)}")
    if raw.task == "regression":
        return
    if len(raw.class_names) < 2:
        raise UserError(f"the target has one class only, {raw.class_names[0]!r}: two are needed to tell apart")
    counts = np.bincount(raw.y[pool], minlength=len(raw.class_names))
    if counts.min() <= len(draws):
        raise UserError(
            f"class {raw.class_names[counts.argmin()]!r} has {counts.min()} rows: "
            f"with fewer than {len(draws) + 1} it cannot be in {', '.join(['train', *draws])}"
        )


def _check_classes(raw: Raw, rows: Mapping[str, NDArray[np.intp]]) -> None:
    for part, chosen in rows.items():
        absent = np.setdiff1d(np.arange(len(raw.class_names)), raw.y[chosen])
        if len(absent):
            raise UserError(
                f"no {part} row of class {raw.class_names[absent[0]]!r}, which is too rare for the split: drop it, "
                f"add rows, or raise data.{'rows' if part == 'train' else part + '_fraction'}"
            )


def parts_of(cells: pd.Series[Any]) -> NDArray[np.str_]:
    """Read the parts of rows out of the cells of a split column [N].

    Raises:
        UserError: one is none of them.
    """
    from src.data.columns import row_name

    part = cells.astype(str).str.strip().str.lower().map(WORDS)
    if part.isna().any():
        at = int(part.isna().to_numpy().argmax())
        raise UserError(
            f"the split column {cells.name!r} is {cells.iloc[at]!r} in {row_name(cells, at)}: "
            "it must be train, val or test"
        )
    return part.to_numpy(dtype=str)
