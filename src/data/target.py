"""The target of a table: classes with the type of their labels, or numbers in 64 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.config.quoting import override
from src.data.columns import BOOLEANS, Reading, Refusal, numbers, row_name, tally
from src.data.inference import LONG_CODE, Hints, number_reading
from src.system.errors import UserError, suggestion, there_are

LARGEST = 1e30  # beyond it, squares of errors leave the range of 32 bits
NO_NUMBER = "a target of classes is data.task=classification"
FOOTER = 5  # rows at the end without a target that are taken for a footer


@dataclass(frozen=True)
class Classes:
    """The classes of a target: their names, and their values as they are in the files, in the same order."""

    names: list[str]
    values: list[Any]


def check_present(target: pd.Series[Any], absent_words: pd.Series[Any] | None = None) -> None:
    """Refuse a target that lacks values.

    Args:
        target: raw cells, NaN where one is missing.
        absent_words: the cells as they are in the file, of which some words stand for a missing value.

    Raises:
        UserError: it names the first row without one, and what to do.
    """
    absent = target.isna().to_numpy()
    if not absent.any():
        return
    at, n_absent = int(absent.argmax()), int(absent.sum())
    where = f"the target {target.name!r} has no value in {row_name(target, at)}"
    if n_absent <= FOOTER and at == len(target) - n_absent and n_absent < len(target):
        raise UserError(
            f"{where}, nor in any row after it: if these are a footer, data.skip_footer={n_absent} leaves it out; "
            "else fill it or drop the row"
        )
    word = "" if absent_words is None or pd.isna(absent_words.iloc[at]) else str(absent_words.iloc[at])
    if word:
        raise UserError(
            f"{where}: {word!r} is a word for a missing value; if it is a class, set "
            f"{override('data.na_values', {str(target.name): []})}, which lists the words for a missing value in "
            "this column; else fill it or drop the row"
        )
    raise UserError(f"{where}: fill it or drop the row")


def regression(target: pd.Series[Any], part: NDArray[Any], scale: float, hints: Hints) -> tuple[NDArray[Any], Reading]:
    """Read numeric targets.

    Args:
        target: raw cells, none missing.
        part: the part of each row [N]; the format is inferred from rows that are no test rows.
        scale: what they are divided by.
        hints: what the config says of numbers.

    Returns:
        The targets [N] in float64, and how they were read.

    Raises:
        UserError: one is no number, is infinite, or is too large for training in 32 bits.
    """
    reading = number_reading(target[part != "test"], hints)
    y = values(target, reading, scale)
    refuse_lost_digits(target.name, most_lossy(target), float(y.std()) * scale)
    return y, reading


def values(target: pd.Series[Any], reading: Reading, scale: float) -> NDArray[np.float64]:
    """Read numbers [N] by a `reading`, and divide them by `scale`.

    Raises:
        UserError: a cell of the `target` is no number, is infinite, or is too large for training in 32 bits.
    """
    y = np.asarray(numbers(target, reading, Refusal(advice=NO_NUMBER)).to_numpy() / scale)
    if np.abs(y).max() > LARGEST:
        at = int(np.abs(y).argmax())
        raise UserError(
            f"the target {target.name!r} is {y[at]:.3g} in {row_name(target, at)}, beyond {LARGEST:g}, which cannot be "
            f"learned in 32 bits: set data.target_scale=1e{int(np.log10(np.abs(y[at])))}"
        )
    return y


def most_lossy(target: pd.Series[Any]) -> tuple[int, str]:
    """Return how much a float of 64 bits loses of the long whole number of `target` that loses most, and its word."""
    words = [word for word in tally(target) if LONG_CODE.fullmatch(word)]
    return max(((abs(int(float(word)) - int(word)), word) for word in words), default=(0, ""))


def refuse_lost_digits(name: Any, lossy: tuple[int, str], spread: float) -> None:
    """Refuse whole numbers of the column `name` of which 64 bits lose more than a millionth of their `spread`.

    Raises:
        UserError: they do, `lossy` as `most_lossy` returns it.
    """
    if lossy[0] > 1e-6 * spread:
        raise UserError(
            f"the target {name!r} has values such as {lossy[1]}, whose last digits a float of 64 bits loses: "
            "subtract a constant from all of them"
        )


def smallest_type(y: NDArray[np.float64], train: NDArray[np.intp]) -> NDArray[Any]:
    """Store targets in 32 bits where that loses less than a millionth of their spread, else in 64."""
    rounded = y.astype(np.float32)
    return rounded if np.abs(y - rounded).max() <= 1e-6 * y[train].std() else y


def labels_of(target: pd.Series[Any], strip: str) -> pd.Series[Any]:
    """Make labels of raw cells: text without `strip` at both ends, numbers and booleans as they are.

    "1" and "1.0" are one label where all are numbers; a number with a leading zero is a code, and text.
    """
    if pd.api.types.is_bool_dtype(target.dtype):
        return target.astype(bool)
    if pd.api.types.is_numeric_dtype(target.dtype):
        return _whole(target.astype(float))
    words = target.astype(str).str.strip()
    words = words.str.strip(strip) if strip else words
    distinct = pd.Series(list(tally(words)), dtype=object)
    if {word.lower() for word in distinct} == BOOLEANS:
        return words.str.lower() == "true"
    values = pd.to_numeric(distinct, errors="coerce")
    if values.isna().any() or np.isinf(values).any() or distinct.str.fullmatch(r"[+-]?0\d+").any():
        return words
    return _whole(pd.to_numeric(words))


def _whole(values: pd.Series[Any]) -> pd.Series[Any]:
    fits = np.isfinite(values) & (values % 1 == 0) & (values.abs() < 2**53)
    return values.astype("int64") if fits.all() else values


def classes_of(labels: pd.Series[Any]) -> Classes:
    """List the classes among labels, in the order of numbers, else in that of their letters."""
    values = sorted(label.item() if hasattr(label, "item") else label for label in labels.unique())
    if all(isinstance(value, str) for value in values):
        ranks = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
        if not ranks.isna().any():
            values = sorted(values, key=float)
    return Classes([str(value) for value in values], values)


def class_indices(labels: pd.Series[Any], classes: Classes) -> NDArray[np.int64]:
    """Turn labels into indices of classes [N].

    Raises:
        UserError: a label is none of them.
    """
    indices = np.asarray(pd.Index(classes.values).get_indexer(pd.Index(labels)), np.int64)
    if (indices < 0).any():
        at = int((indices < 0).argmax())
        label = str(labels.iloc[at])
        raise UserError(
            f"the target {labels.name!r} is {labels.iloc[at]!r} in {row_name(labels, at)}, "
            f"a label that no training row has{suggestion(label, classes.names) or there_are(classes.names)}"
        )
    return indices


def balance_warning(y: NDArray[np.int64], names: Sequence[str]) -> list[str]:
    """Warn of a rare class, which accuracy hardly sees."""
    counts = np.bincount(y, minlength=len(names))
    share = counts / counts.sum()
    rare, common = int(counts.argmin()), int(counts.argmax())
    if share[rare] >= 0.05 or share[common] < 0.5:
        return []
    return [
        f"class {names[rare]!r} has {counts[rare]} of {counts.sum()} rows ({share[rare]:.1%}): always answering "
        f"{names[common]!r} is right in {share[common]:.1%}, so look at more than the accuracy"
    ]
