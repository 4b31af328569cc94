"""Dates and times as people write them, and the calendar features that a model gets of them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ISO = "ISO8601"
DATES = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y"),
    *("%m/%d/%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d-%b-%Y", "%d-%b-%y"),
    *("%d%b%Y", "%d. %b %Y", "%d. %B %Y", "%a %d %b %Y", "%a, %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y"),
)
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
SHORT = ("%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%y", "%Y%m%d")
WHOLE = (
    *("%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT", "%d/%b/%Y:%H:%M:%S %z"),
    *("%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%d %H:%M", "%Y%m%d %H:%M:%S", "%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H.%M.%S"),
    *("%Y-%m-%d %H:%M:%S UTC", "%d.%m.%Y %H:%M Uhr", "%b %d %Y %I:%M%p", "%m/%d/%Y %I:%M%p", "%m/%d/%Y, %I:%M:%S %p"),
    *("%d.%m.%Y, %H:%M", "%d.%m.%Y, %H:%M:%S", "%d/%m/%Y, %H:%M", "%d/%m/%Y, %H:%M:%S", "%m/%d/%Y, %H:%M:%S"),
)
FORMATS = (ISO, *DATES, *(f"{date} {time}" for date in DATES for time in TIMES), *WHOLE, *SHORT, *TIMES)
SAMPLE = 50  # cells by which formats are ruled out before all cells are read
DAY = pd.Timedelta(days=1)
ISO_CELL = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d){0,2}([.,]\d+)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?")
DIGITS_CELL = re.compile(r"(19|20|21)\d\d(0[1-9]|1[0-2])[0-3]\d")
LIKELY = re.compile(r"(?=.*\d).*[-/.: ]|\d{8}|\d+[A-Z][a-z]{2}\d")
SHORT_MINUTE = re.compile(r":\d(?!\d)")  # 3:1 is a ratio


def parse(cells: Sequence[str], form: str) -> pd.DatetimeIndex:
    """Read cells in a format, as times in UTC; NaT where a cell is not written in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pd.DatetimeIndex(pd.to_datetime(pd.Series(cells, dtype=object), format=form, utc=True, errors="coerce"))


def candidates(cells: Mapping[str, int], share: float, digits: bool = False) -> list[str]:
    """List the formats in which at least `share` of the rows can be read.

    Args:
        cells: distinct cells, each with the number of its rows.
        share: the part of the rows that must be readable.
        digits: all cells are plain numbers, so that 20230131 and 20230131081500 are the only dates that they can be.
    """
    words = list(islice(cells, SAMPLE))
    long = digits and all(re.fullmatch(rf"{DIGITS_CELL.pattern}[0-2]\d[0-5]\d[0-5]\d", word) for word in words)
    if digits and not long and not all(DIGITS_CELL.fullmatch(word) for word in words):
        return []
    words = list(cells)
    if not words or not any(LIKELY.match(word) for word in words[:SAMPLE]):
        return []
    counts = np.array(list(cells.values()))
    accepted = []
    for form in ("%Y%m%d%H%M%S",) if long else ("%Y%m%d",) if digits else FORMATS:
        if _reads(words[:SAMPLE], form).mean() < share / 2:
            continue
        if counts[_reads(words, form)].sum() >= share * counts.sum():
            accepted.append(form)
    return accepted


def _reads(words: Sequence[str], form: str) -> NDArray[np.bool_]:
    """Tell which cells can be read in a format; ISO 8601 with whole dates alone, eight digits with likely years alone."""
    readable = np.asarray(parse(words, form).notna())
    if form == ISO:
        readable &= [ISO_CELL.fullmatch(word) is not None for word in words]
    if "%M" in form:
        readable &= [SHORT_MINUTE.search(word) is None for word in words]
    if form == "%Y%m%d":
        readable &= [DIGITS_CELL.fullmatch(word) is not None for word in words]
    return readable


def calendar(times: pd.DatetimeIndex, form: str) -> dict[str, NDArray[np.float64]]:
    """Compute the calendar features [N] of times, NaN where there is none.

    `time` is in days since 1970; the hour has its minutes as a fraction.
    """
    midnight = times.normalize()
    features = {
        "time": (times - pd.Timestamp(0, unit="s", tz="UTC")) / DAY,
        "year": times.year,
        "month": times.month,
        "day": times.day,
        "weekday": times.day_of_week,
        "hour": (times - midnight) / pd.Timedelta(hours=1),
    }
    if form in TIMES:
        features = {"hour": features["hour"]}
    return {name: np.asarray(values, np.float64) for name, values in features.items()}
