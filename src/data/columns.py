"""Input columns of a table: what each one is, inferred from the training rows, and its cells read accordingly."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data import date_format
from src.data.number_format import PLAIN, NumberFormat
from src.data.raw import Column
from src.system.errors import UserError, suggestion, there_are

LARGEST = 1e100  # of an input: squares and spreads of larger ones leave the range of 64 bits
MISSING = ""  # of a column of categories; its index is 0
BOOLEANS = {"true", "false"}
Unreadable = Callable[["pd.Series[Any]", NDArray[np.intp], str], None]


@dataclass(frozen=True)
class Reading:
    """The way in which the cells of a column are read.

    Args:
        kind: number, category, boolean or date.
        number: the format of numbers.
        missing: the words among numbers or dates that stand for a missing value.
        dates: the format of dates.
        features: the calendar features of dates.
    """

    kind: str = "number"
    number: NumberFormat = PLAIN
    missing: tuple[str, ...] = ()
    dates: str = ""
    features: tuple[str, ...] = ()

    @classmethod
    def of(cls, column: Column) -> Reading:
        """Read the reading of a column of `meta.json`."""
        stored = column.get("reading")
        if stored is None:
            return cls("number" if column["dtype"] == "double" else "category")
        number = NumberFormat(**stored.get("number", {}))
        listed = {key: tuple(stored.get(key, ())) for key in ("missing", "features")}
        return cls(stored["kind"], number, dates=stored.get("dates", ""), **listed)

    def column(self, name: str) -> Column:
        """Make the column of `meta.json` with this reading."""
        simple = self.kind in ("number", "category") and self == Reading(self.kind)
        text = self.kind != "number" or self.number.prefix or self.number.unit
        column: Column = {"name": name, "dtype": "string" if text else "double"}
        if not simple:
            whole = asdict(self)
            column["reading"] = {"kind": self.kind} | {key: whole[key] for key in whole if whole[key] and key != "kind"}
        return column


@dataclass
class Refusal:
    """The treatment of cells that cannot be read: raise, or treat them as missing and count them.

    Args:
        tolerant: treat them as missing.
        advice: what a person can do, for the sentence.
        counts: how many there were, by column.
        examples: the first of each column, with its row.
        unknown: words that no training row has, of each column of categories: how many cells, and the first.
    """

    tolerant: bool = False
    advice: str = "data.na_values lists the words for a missing one, data.categorical the columns of categories"
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, cells: pd.Series[Any], unreadable: NDArray[np.bool_], what: str) -> None:
        """Refuse or count the cells at which `unreadable` is true; `what` they should be.

        Raises:
            UserError: the first of them, unless tolerant.
        """
        if not unreadable.any():
            return
        at, name = int(unreadable.argmax()), str(cells.name)
        where = f"column {name!r}, {row_name(cells, at)}: {cells.iloc[at]!r}"
        if not self.tolerant:
            raise UserError(f"{where} is not {what} ({self.advice})")
        self.counts[name] = self.counts.get(name, 0) + int(unreadable.sum())
        self.examples.setdefault(name, f"{cells.iloc[at]!r} in {row_name(cells, at)}")

    def note_unknown(self, name: str, cells: pd.Series[Any], of_training: Collection[str]) -> None:
        """Count the words of the column `name`, `cells` [N], that are none of those `of_training` rows."""
        unknown = ~cells.isin([MISSING, *of_training]).to_numpy()
        if self.tolerant and unknown.any():
            at = int(unknown.argmax())
            count, example = self.unknown.get(name, (0, f"{cells.iloc[at]!r} in {row_name(cells, at)}"))
            self.unknown[name] = count + int(unknown.sum()), example


STRICT = Refusal()


def row_name(rows: pd.DataFrame | pd.Series[Any], position: int) -> str:
    """Say how a person finds the row at a position: rows of files are indexed by (file name, row number)."""
    label = rows.index[position]
    return f"data row {label[1] + 1} of {label[0]}" if isinstance(label, tuple) else f"row {position + 1}"


def conform(frame: pd.DataFrame, columns: Sequence[Column], refusal: Refusal = STRICT) -> pd.DataFrame:
    """Read raw rows: float64 columns with NaN for what is missing, and columns of words with `MISSING`.

    Args:
        frame: raw rows, with at least the columns of `columns`; a cell may be text or already a number, date or boolean.
        columns: the input columns, in their order.
        refusal: what to do with cells that cannot be read.

    Raises:
        UserError: a column is missing, a number is infinite, or a cell cannot be read.
    """
    absent = [column["name"] for column in columns if column["name"] not in frame.columns]
    if absent:
        hint = suggestion(absent[0], frame.columns) or there_are(frame.columns)
        raise UserError(f"the column {absent[0]!r} is missing{hint}")
    features: dict[str, Any] = {}
    for column in columns:
        reading, cells = Reading.of(column), _scalars(frame[column["name"]], refusal)
        if reading.kind == "date":
            features |= dates(cells, reading, refusal)
        elif reading.kind == "number":
            values = features[column["name"]] = numbers(cells, reading, refusal)
            if (huge := values.abs().to_numpy() > LARGEST).any():
                at = int(huge.argmax())
                raise UserError(
                    f"column {cells.name!r}, {row_name(cells, at)}: {cells.iloc[at]!r} is beyond {LARGEST:g}"
                )
        else:
            features[column["name"]] = words(cells, reading)
    return pd.DataFrame(features, index=frame.index)


def _scalars(cells: pd.Series[Any], refusal: Refusal) -> pd.Series[Any]:
    """Refuse lists and mappings, which JSON and Parquet can have as cells; where the refusal is tolerant, as missing."""
    if not pd.api.types.is_object_dtype(cells.dtype):
        return cells
    nested = cells.map(pd.api.types.is_hashable).to_numpy(bool, na_value=True)
    refusal.add(cells, ~nested, "a text, number, date or boolean")
    return cells.where(nested)


def feature_names(columns: Sequence[Column]) -> tuple[list[str], list[str]]:
    """List the numeric features of columns, and those that are words, as `conform` names them."""
    numeric, text = [], []
    for column in columns:
        reading = Reading.of(column)
        if reading.kind == "date":
            numeric += [f"{column['name']} ({feature})" for feature in reading.features]
        elif reading.kind == "number":
            numeric.append(column["name"])
        else:
            text.append(column["name"])
    return numeric, text


def numbers(cells: pd.Series[Any], reading: Reading = Reading(), refusal: Refusal = STRICT) -> pd.Series[Any]:
    """Read numbers as float64, NaN where one is missing.

    Args:
        cells: text, or numbers.
        reading: their format, and the words for a missing one.
        refusal: what to do with cells that cannot be read.

    Raises:
        UserError: one is infinite, or cannot be read.
    """
    if reading.number.plain:
        values = pd.to_numeric(cells, errors="coerce").astype("float64")
        values = values.fillna(_by_distinct(cells[values.isna()], lambda cell: _number(cell, reading.number)))
    else:
        values = _by_distinct(cells, lambda cell: _number(cell, reading.number))
    refusal.add(cells, (values.isna() & cells.notna() & ~cells.isin(reading.missing)).to_numpy(), "a number")
    infinite = np.isinf(values.to_numpy())
    if infinite.any():
        at = int(infinite.argmax())
        raise UserError(f"column {cells.name!r}, {row_name(cells, at)}: the value is infinite: it must be finite")
    return values


def _number(cell: Any, number: NumberFormat) -> float:
    value = number.parse(cell) if isinstance(cell, str) else float(cell)
    return np.nan if value is None else value


def _by_distinct(cells: pd.Series[Any], read: Callable[[Any], Any]) -> pd.Series[Any]:
    codes, distinct = pd.factorize(cells)  # code -1: missing
    values = np.array([*(read(cell) for cell in distinct), np.nan], np.float64)
    return pd.Series(values[codes], index=cells.index, name=cells.name)


def dates(cells: pd.Series[Any], reading: Reading, refusal: Refusal = STRICT) -> dict[str, NDArray[np.float64]]:
    """Read dates as their calendar features, NaN where one is missing.

    Args:
        cells: text, or times.
        reading: the format, the features, and the words for a missing date.
        refusal: what to do with cells that cannot be read.
    """
    codes, distinct = pd.factorize(cells)
    times = date_format.parse([_date_text(cell) for cell in distinct], reading.dates)
    times = pd.DatetimeIndex(times.append(pd.DatetimeIndex([pd.NaT], tz="UTC"))[codes])
    refusal.add(cells, np.asarray(times.isna()) & (cells.notna() & ~cells.isin(reading.missing)).to_numpy(), "a date")
    calendar = date_format.calendar(times, reading.dates)
    return {f"{cells.name} ({feature})": calendar[feature] for feature in reading.features}


def _date_text(cell: Any) -> str:
    """Write a date as text; a whole number such as 20230131 may have become 20230131.0 beside a missing one."""
    return cell.isoformat() if hasattr(cell, "isoformat") else _word(cell)


def words(cells: pd.Series[Any], reading: Reading = Reading("category")) -> pd.Series[Any]:
    """Read categories as words, `MISSING` where one is missing."""
    codes, distinct = pd.factorize(cells)
    as_word = [_word(value) for value in distinct]
    if reading.kind == "boolean":
        as_word = [word.lower() for word in as_word]
    return pd.Series(np.array([*as_word, MISSING], dtype=object)[codes], index=cells.index, dtype=object)


def _word(value: Any) -> str:
    """Write a category: a code 5 that became 5.0 beside a missing one, in memory or in a file, is "5" again."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


def with_zeros(cells: pd.Series[Any], categories: Collection[str]) -> pd.Series[Any]:
    """Give codes that a reader of files took for numbers their leading zeros back: 1010 is 01010, if `categories` have it.

    Raises:
        UserError: a number may be two of the categories.
    """
    codes: dict[str, list[str]] = {}
    for code in categories:
        if re.fullmatch(r"\d+", code):
            codes.setdefault(code.lstrip("0") or "0", []).append(code)
    for word in cells.unique():
        if len(several := codes.get(word, ())) > 1:
            raise UserError(f"column {cells.name!r}: {word} may be {' or '.join(several)}; give such codes as text")
    return cells.map(lambda word: codes[word][0] if word in codes else word)


def tally(cells: pd.Series[Any]) -> Mapping[str, int]:
    """Count the distinct words of cells that are not missing, in the order of their first rows."""
    codes, distinct = pd.factorize(cells)
    counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
    return {str(word): int(count) for word, count in zip(distinct, counts, strict=True)}
