"""Remarks of a profile on columns that are read as they stand although they look like something else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from src.config.quoting import override

MOST_WORDS = 10_000  # that are looked at
LONGEST = 100  # letters of one
MOSTLY = 0.7  # of the words, for a remark on all of them
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
NINES = re.compile(r"-?9{2,}(?:\.0+)?")
PERIOD = re.compile(
    r"(?:\d{2,4}[- /]?)?(?:W|KW|CW|Week|Woche)[ -]?(?:0?[1-9]|[1-4]\d|5[0-3])(?:[- /]?\d{4})?"
    r"|\d{4}[- /]?Q[1-4]|Q[1-4][- /]?\d{4}"
)
DATE = re.compile(r"(?=.*\b(?:19|20)\d\d\b)(?=.*(?<!\d)\d{1,2}(?!\d)).*[^\d.,].*")
NUMERIC_DATE = re.compile(r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2}))\b.*")
NESTED = re.compile(r"\[.*\]|\{.*\}|\(.*,.*\)", re.DOTALL)


def of_words(words: Iterable[str]) -> str:
    """Remark on the distinct words of a column that look like dates, periods, lists, or like each other; "" if none do."""
    words = [word[:LONGEST] for word in islice(words, MOST_WORDS)]
    least = MOSTLY * len(words)
    if sum(bool(PERIOD.fullmatch(word)) for word in words) > least:
        return "looks like quarters or weeks; dates (2022-01-31) are read as times"
    if sum(bool(DATE.fullmatch(word) or NUMERIC_DATE.fullmatch(word)) for word in words) > least:
        return (
            "looks like dates, but not all in one form that is known; write 2022-01-31, or say the form by data.dates"
        )
    if sum(bool(NESTED.fullmatch(word)) for word in words) > least:
        return "lists or JSON are read as one word each"
    return alike(words)


def of_numbers(counts: Mapping[str, int], values: NDArray[np.float64]) -> str:
    """Remark on a number that likely stands for a missing value: -999 among positive ones, or 9999 far beyond the others.

    Args:
        counts: the distinct cells of a column, each with its rows.
        values: what they are read as, NaN for a word.
    """
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    if len(order) < 3:
        return ""
    cells = list(counts)
    lowest, next_, last, highest = order[[0, 1, -2, -1]]
    is_apart = {
        lowest: values[lowest] < 0 <= values[next_],
        highest: values[highest] - values[last] > values[last] - values[lowest],
    }
    for at, apart in is_apart.items():
        word, rows = cells[at], counts[cells[at]]
        if apart and rows > 1 and NINES.fullmatch(word):
            missing = override("data.na_values", [word])
            return f"{word} in {rows} rows is read as a number; {missing} makes it missing"
    return ""


def of_decimals(words: Iterable[str]) -> str:
    """Remark on numbers that merge although they are written apart, as versions 1.1 and 1.10 are; "" if there are none."""
    digits: dict[str, str] = {}
    for word in islice(words, MOST_WORDS):
        if "." in word and "e" not in word.lower():
            other = digits.setdefault(word.rstrip("0"), word)
            if other != word:
                return f"{other!r} and {word!r} are one number"
    return ""


def alike(words: Iterable[str]) -> str:
    """Remark on the first two words that differ by case, blanks, invisible letters or a last mark only; "" if none do."""
    first: dict[str, str] = {}
    for word in words:
        other = first.setdefault(_skeleton(word), word)
        if other != word:
            write = ascii if _visible(other) == _visible(word) else repr
            return f"{write(other)} and {write(word)} may be one"
    return ""


def _skeleton(word: str) -> str:
    text = _visible(word).casefold()
    text = text.rstrip(".;,:") or text
    return {"true": "1", "false": "0", "1.0": "1", "0.0": "0"}.get(text, text)


def invisible_twins(names: Iterable[str]) -> str:
    """Remark on two column names that a person cannot tell apart."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(_visible(name), name)
        if other != name:
            return f"the columns {other!r} and {name!r} look the same"
    return ""


def _visible(text: str) -> str:
    return " ".join(INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).split())
