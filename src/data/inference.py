"""Inference of what the input columns of a table are, from the training rows alone, and what a person is told of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from src.config.quoting import override
from src.data import date_format, number_format, remarks
from src.data.columns import BOOLEANS, Reading, tally
from src.data.number_format import Evidence, NumberFormat
from src.data.raw import Column, ProfileLine
from src.system.errors import UserError, suggestion, there_are

MOSTLY = 0.95  # of the rows: the others are then words for a missing value
CONTINUOUS = 20  # distinct numbers, beyond which a share of OFTEN is enough
OFTEN = 0.7
SAMPLE = 200  # distinct cells of a column of plain numbers
PADDED_CELL = re.compile(r"[+-]?0\d+")
PADDED = 0.01  # of the rows with leading zeros: the numbers are codes
FEW = 20  # rows, below which nothing is taken for an id
MOST_UNITS = 12  # of one column; more are parts of codes
MOST_WORDS = 3  # that stand for a missing date
ID_SHARE = 0.9  # of distinct words among the rows
ID_NAME = re.compile(
    r"(?:unnamed(?:: ?\d+)?|index|level_0|__index_level_0__|row|row[ _-]?(?:id|nr|no|num|number)|nr|no|id|uid|uuid|guid|"
    r"(?:.*[ ._-])(?:id|uid|uuid|guid|key|nr|no|num|number)\.?|.*nummer)",
    re.IGNORECASE,
)
TIME_NAME = re.compile(r".*(?:time|date|year|month|week|day|hour|jahr|monat|woche|tag|zeit).*|t", re.IGNORECASE)
LONG_CODE = re.compile(r"[+-]?\d{16,}")
CAMEL_ID = re.compile(r".*[a-z](?:ID|Id)")


@dataclass(frozen=True)
class Hints:
    """Keys of the config that say what columns are.

    Args:
        categorical: columns of categories.
        keep: columns that are never left out.
        decimal: the decimal mark of all numbers; None: it is recognised.
        thousands: their separator of thousands; None: it is recognised.
        dates: formats of columns of dates.
        separator: of the file's cells.
    """

    categorical: Sequence[str] = ()
    keep: Sequence[str] = ()
    decimal: str | None = None
    thousands: str | None = None
    dates: Mapping[str, str] = field(default_factory=dict)
    separator: str = ","

    def check(self, names: Sequence[str]) -> None:
        """Refuse a name that is no input column.

        Raises:
            UserError: it names the key and the nearest column.
        """
        for key in ("categorical", "keep", "dates"):
            for name in getattr(self, key):
                if name not in names:
                    raise UserError(
                        f"data.{key} names {name!r}, no input column{suggestion(name, names) or there_are(names)}"
                    )


@dataclass(frozen=True)
class Cells:
    """A column of training rows: its raw cells, and its distinct words with their counts (none of typed columns)."""

    raw: pd.Series[Any]
    counts: Mapping[str, int]
    plain: bool

    @classmethod
    def of(cls, raw: pd.Series[Any]) -> Cells:
        """Count the words of a column, unless its type says what it is; `plain`: all are numbers as Python writes them."""
        counts = {} if _is_typed(raw) else tally(raw)
        plain = bool(pd.to_numeric(pd.Series(list(counts), dtype=object), errors="coerce").notna().all())
        return cls(raw, counts, plain)

    @property
    def n_rows(self) -> int:
        """The number of rows with a value."""
        return int(self.raw.notna().sum())


Outcome = tuple[Reading | None, str]  # the reading, None to leave the column out; and the note


def infer(train: pd.DataFrame, hints: Hints) -> tuple[list[Column], list[ProfileLine]]:
    """Infer the input columns from raw training rows.

    Args:
        train: the training rows, indexed by (file name, row number), their cells text, NaN or typed.
        hints: what the config says.

    Returns:
        The columns that a model gets, and a line for every column.

    Raises:
        UserError: a column can be read in two ways, or none is left.
    """
    hints.check([str(name) for name in train.columns])
    columns, profile = [], []
    cells = {str(name): Cells.of(train[name]) for name in train.columns}
    evidence = _evidence(cells, hints)
    for name, each in cells.items():
        reading, note = _read(name, each, evidence, hints)
        if reading is not None:
            columns.append(reading.column(name))
        profile.append(_line(name, each, reading, note))
    if not columns:
        raise UserError(f"no column is left to learn from: {profile[0]['column']!r} is left out ({profile[0]['note']})")
    return columns, profile


def _evidence(cells: Mapping[str, Cells], hints: Hints) -> dict[str, Evidence]:
    """Collect how numbers are written: of columns of plain numbers from a sample, unless commas are decimal elsewhere."""
    evidence = {name: number_format.collect(each.counts) for name, each in cells.items() if not each.plain}
    commas = hints.decimal == "," or any("," in each.decimals for each in evidence.values())
    most = None if commas else SAMPLE
    return evidence | {
        name: number_format.collect(dict(islice(each.counts.items(), most)))
        for name, each in cells.items()
        if each.plain
    }


def _read(name: str, cells: Cells, evidence: Mapping[str, Evidence], hints: Hints) -> Outcome:
    if name in hints.categorical:
        return Reading("category"), ""
    if name in hints.dates:
        return _dates(cells, hints.dates[name]), ""
    if not cells.counts:
        return _typed(name, cells, hints)
    if {word.lower() for word in cells.counts} <= BOOLEANS:
        return Reading("boolean"), ""
    for rule in (_number, _date, _text):
        outcome = rule(name, cells, evidence, hints)
        if outcome is not None:
            return outcome
    raise AssertionError("text is always read as something")


def _is_typed(raw: pd.Series[Any]) -> bool:
    kinds = pd.api.types
    return bool(
        kinds.is_bool_dtype(raw.dtype) or kinds.is_numeric_dtype(raw.dtype) or kinds.is_datetime64_any_dtype(raw.dtype)
    )


def _typed(name: str, cells: Cells, hints: Hints) -> Outcome:
    if pd.api.types.is_bool_dtype(cells.raw.dtype):
        return Reading("boolean"), ""
    if pd.api.types.is_datetime64_any_dtype(cells.raw.dtype):
        return _dates(cells, date_format.ISO), ""
    return _left_out_as_id(name, cells, hints) or (Reading(), "" if cells.n_rows else "no value in any training row")


# Numbers


def _number(name: str, cells: Cells, evidence: Mapping[str, Evidence], hints: Hints) -> Outcome | None:
    column = evidence[name]
    if not cells.plain and column.n_numbers < 0.3 * cells.n_rows:
        return None
    padded = [word for word in cells.counts if word[:1] in "0+-" and PADDED_CELL.fullmatch(word)]
    if sum(cells.counts[word] for word in padded) > PADDED * cells.n_rows:
        return _text(name, cells, evidence, hints, f"leading zeros ({_listed(padded, 1)}): codes, not numbers")
    if merged := [word for word in cells.counts if LONG_CODE.fullmatch(word) and int(float(word)) != int(word)]:
        return _text(name, cells, evidence, hints, f"{_listed(merged, 1)}: codes, of more digits than a number has")
    if forms := date_format.candidates(cells.counts, MOSTLY, cells.plain):
        return _dated(name, cells, forms)
    if cells.plain and not column.units:  # inf
        return Reading(), ""
    number = _format(name, column, evidence, hints)
    if number.plain and cells.plain:
        return _left_out_as_id(name, cells, hints) or (Reading(), _remark(cells.counts, number))
    readable = {word: count for word, count in cells.counts.items() if number.parse(word) is not None}
    share = sum(readable.values()) / cells.n_rows
    others = [word for word in cells.counts if word not in readable]
    if infinite := [word for word in others if re.fullmatch(r"[+-]?inf(inity)?", word, re.IGNORECASE)]:
        return Reading(), f"{infinite[0]!r} is refused"
    if share < OFTEN or (share < MOSTLY and len(readable) <= CONTINUOUS):
        return _text(name, cells, evidence, hints, f"numbers in {share:.0%} of the rows, else {_listed(others)}")
    if not others and (outcome := _left_out_as_id(name, cells, hints)):
        return outcome
    rows = sum(cells.counts[word] for word in others)
    note = f"{_listed(others)} in {rows} rows: missing ({override('data.categorical', [name])} keeps words)"
    note = note if others else _remark(readable, number)
    return Reading(number=number, missing=tuple(others)), note


def _format(name: str, column: Evidence, evidence: Mapping[str, Evidence], hints: Hints) -> NumberFormat:
    prefix, unit = column.units.most_common(1)[0][0]
    if hints.decimal is not None:
        other = "," if hints.decimal == "." else "."
        marks = [*column.thousands, *([other] if other in column.ambiguous else [])]
        thousands = hints.thousands if hints.thousands is not None else next(iter(marks), "")
        return NumberFormat(hints.decimal, thousands if thousands != hints.decimal else "", prefix, unit)
    if hints.thousands is not None:
        return NumberFormat("," if hints.thousands == "." else ".", hints.thousands, prefix, unit)
    number = number_format.infer(column, evidence.values(), hints.separator)
    if number is None:
        raise UserError(
            f"column {name!r}: a comma may be decimal or separate thousands: "
            "set 'data.decimal=\",\"' or 'data.decimal=\".\"'"
        )
    return number


def _left_out_as_id(name: str, cells: Cells, hints: Hints) -> Outcome | None:
    """Leave out whole numbers that count the rows, or that are distinct in a column with the name of an id."""
    if name in hints.keep or cells.n_rows < len(cells.raw):
        return None
    values = pd.to_numeric(cells.raw, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all() or (values % 1).any() or len(np.unique(values)) < len(values):
        return None
    named = ID_NAME.fullmatch(name) or CAMEL_ID.fullmatch(name)
    index = cells.raw.index
    positions = index.get_level_values(1).to_numpy() if index.nlevels == 2 else np.arange(len(values))
    offsets = np.unique(values - positions)
    start = len(offsets) == 1 and (offsets[0] in (0, 1) or not TIME_NAME.fullmatch(name))
    counts_rows = (start or len(np.unique(values + positions)) == 1) and len(values) >= FEW
    if counts_rows or (named and len(values) >= FEW):
        return (
            None,
            f"{'it counts the rows' if counts_rows else 'an id'}, which tells nothing of new rows; {_keep(name)}",
        )
    return None


def _remark(words: Mapping[str, int], number: NumberFormat) -> str:
    cells = pd.Series(list(words), dtype=object)
    parsed = pd.to_numeric(cells, errors="coerce") if number.plain else cells.map(number.parse)
    values = parsed.to_numpy(np.float64)
    return remarks.of_numbers(words, values) or remarks.of_decimals(words)


def number_reading(raw: pd.Series[Any], hints: Hints) -> Reading:
    """Infer the format of a column that must hold numbers, such as a target."""
    cells = Cells.of(raw)
    column = number_format.collect(cells.counts)
    if cells.plain and hints.decimal in (None, "."):
        return Reading()
    return Reading(number=_format(str(raw.name), column, {"": column}, hints)) if column.units else Reading()


# Dates


def _date(name: str, cells: Cells, evidence: Mapping[str, Evidence], hints: Hints) -> Outcome | None:
    forms = date_format.candidates(cells.counts, OFTEN)
    return _dated(name, cells, forms) if forms else None


def _dated(name: str, cells: Cells, forms: Sequence[str]) -> Outcome | None:
    readings = {form: date_format.parse(list(cells.counts), form) for form in forms}
    readable = {form: int(np.asarray(times.notna()).sum()) for form, times in readings.items()}
    best = [form for form, n in readable.items() if n == max(readable.values())]
    if any(not readings[form].equals(readings[best[0]]) for form in best):
        raise UserError(
            f"column {name!r}: {next(iter(cells.counts))!r} may be {' or '.join(best)}: "
            f"set {override('data.dates', {name: best[0]})}, or {override('data.drop', [name])}"
        )
    reading = _dates(cells, best[0])
    rows = sum(cells.counts[word] for word in reading.missing)
    if rows > (1 - MOSTLY) * cells.n_rows and len(reading.missing) > MOST_WORDS:
        return None
    note = f"{_listed(reading.missing)} in {rows} rows: missing" if reading.missing else ""
    return reading, note


def _dates(cells: Cells, form: str) -> Reading:
    """Make a reading of dates, with the features that differ between training rows; the time itself is always one."""
    if cells.counts:
        times = date_format.parse(list(cells.counts), form)
        missing = tuple(word for word, absent in zip(cells.counts, times.isna(), strict=True) if absent)
    else:
        times, missing = pd.DatetimeIndex(pd.to_datetime(cells.raw.dropna(), utc=True)), ()
    calendar = date_format.calendar(times, form)
    first = next(iter(calendar))
    features = [
        name for name, values in calendar.items() if name == first or len(np.unique(values[~np.isnan(values)])) > 1
    ]
    return Reading("date", dates=form, missing=missing, features=tuple(features))


# Text


def _text(name: str, cells: Cells, evidence: Mapping[str, Evidence], hints: Hints, note: str = "") -> Outcome:
    units = evidence[name].units
    if 1 < len(units) <= MOST_UNITS and units.total() > OFTEN * cells.n_rows:
        names = _listed(unit or prefix or "none" for prefix, unit in units)
        note = f"different units ({names}): write all in one to get numbers"
    note = note or remarks.of_words(cells.counts)
    distinct = len(cells.counts)
    if name not in hints.keep and cells.n_rows >= FEW and distinct >= ID_SHARE * cells.n_rows:
        return (
            None,
            f"{distinct} different words in {cells.n_rows} rows: an id or free text, which tells nothing of new rows; "
            f"{note + '; ' if note else ''}{_keep(name)}",
        )
    return Reading("category"), note


def _keep(name: str) -> str:
    return f"{override('data.keep', [name])} keeps it"


def _listed(words: Any, most: int = 3) -> str:
    every = [repr(word) for word in words]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _line(name: str, cells: Cells, reading: Reading | None, note: str) -> ProfileLine:
    """Make a column's line of the profile."""
    read_as = "left out"
    if reading is not None:
        read_as = {
            "number": f"number {reading.number.describe()}".strip(),
            "date": f"{reading.dates}: {', '.join(reading.features)}",
        }.get(reading.kind, reading.kind)
    distinct = len(cells.counts) or int(cells.raw.nunique())
    if distinct == 1 and reading is not None:
        note = note or "one value only"
    kind = reading.kind if reading is not None else "left out"
    missing = (
        len(cells.raw) - cells.n_rows + sum(cells.counts.get(word, 0) for word in (reading.missing if reading else ()))
    )
    return {"column": name, "kind": kind, "read_as": read_as, "distinct": distinct, "missing": missing, "note": note}
