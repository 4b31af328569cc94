"""Numbers as people write them: decimal commas, thousands separators, units and signs of percent or of currencies.

A column is written in one format. It is inferred from the distinct cells of the training rows: "20,05" has a decimal comma
for sure, "12,345" may have one or a separator of thousands, which other cells and other columns of the file decide.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

SIGNS = "$€£¥₹₽₩₺₿₴₫₱₪₦"
CURRENCY = rf"[A-Z]{{0,2}}[{SIGNS}]|(?:USD|EUR|GBP|CHF|JPY|Rs\.?)\s?"
GROUPS = "'’ \u00a0\u2009\u202f_"  # separators of thousands that are no decimal mark anywhere
CELL = re.compile(
    rf"(?P<sign>[+\-−]?)(?P<prefix>(?:{CURRENCY})?)\s*(?P<inner>[+\-−]?)"
    rf"(?P<digits>(?:\d[\d.,{GROUPS}]*\d|\d|[.,]\d[\d]*)[.,]?(?:[eE][+\-−]?\d+|[dD][+\-−]\d+)?)(?P<unit>(?:\s*[^\W\d_][^\s]*|\s*[%‰°µ{SIGNS}]\S*)?)"
)
LONGEST = 60  # characters of a number with its unit


@dataclass(frozen=True)
class NumberFormat:
    """The way in which the numbers of a column are written.

    Args:
        decimal: the decimal mark.
        thousands: the separator of thousands; "" where there is none.
        prefix: the sign of a currency before each number.
        unit: the text after each number.
    """

    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    unit: str = ""

    @property
    def plain(self) -> bool:
        """True where Python reads such numbers as they are."""
        return self == PLAIN

    def parse(self, cell: str) -> float | None:
        """Read a cell; None where it is no number in this format."""
        match = _match(cell)
        if not match or match["prefix"].strip() != self.prefix or match["unit"].strip() != self.unit:
            return None
        digits = match["digits"]
        if not _pattern(self.decimal, self.thousands).fullmatch(digits):
            return None
        text = digits.replace(self.thousands, "") if self.thousands else digits
        text = f"{match['sign'] or match['inner']}{text.replace(self.decimal, '.')}".replace("−", "-")
        return float(re.sub("[dD]", "e", text))

    def describe(self) -> str:
        """Describe what is special about the format, for a person."""
        parts = []
        if self.decimal != ".":
            parts.append(f"decimal {self.decimal!r}")
        if self.thousands:
            parts.append(f"thousands {self.thousands!r}")
        if self.prefix or self.unit:
            parts.append(f"in {self.prefix or self.unit}")
        return ", ".join(parts)


PLAIN = NumberFormat()


@lru_cache
def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    whole = rf"\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+|\d+" if thousands else r"\d+"
    if thousands == ",":
        whole = rf"\d{{1,2}}(?:,\d\d)+,\d{{3}}|{whole}"  # lakhs: 12,34,567
    mark = re.escape(decimal)
    return re.compile(rf"(?:(?:{whole})(?:{mark}\d*)?|{mark}\d+)(?:[eE][+\-−]?\d+|[dD][+\-−]\d+)?")


def _match(cell: str) -> re.Match[str] | None:
    """Match a cell as a number with its unit; (12) and 12- are negative, as accountants write."""
    if len(cell) > LONGEST:
        return None
    text = cell.strip()
    if negative := re.fullmatch(r"\(([^-+−]+)\)|([^-+−]*\d)[-−]", text):
        text = f"-{negative[1] or negative[2]}"
    return CELL.fullmatch(text)


@dataclass(frozen=True)
class Evidence:
    """Signs in the cells of a column of how its numbers are written, each with the number of cells.

    Args:
        units: pairs of prefix and unit.
        decimals: marks that are decimal for sure.
        thousands: marks that separate thousands for sure.
        ambiguous: marks that may be either.
        words: cells that are no numbers.
    """

    units: Counter[tuple[str, str]]
    decimals: Counter[str]
    thousands: Counter[str]
    ambiguous: Counter[str]
    words: Counter[str]

    @property
    def n_numbers(self) -> int:
        """The number of cells that look like numbers."""
        return self.units.total()


def collect(cells: Mapping[str, int]) -> Evidence:
    """Collect the evidence of distinct cells, each with the number of its rows."""
    evidence = Evidence(Counter(), Counter(), Counter(), Counter(), Counter())
    for cell, count in cells.items():
        match = _match(cell)
        marks = _marks(match["digits"]) if match else None
        if match is None or marks is None:
            evidence.words[cell] += count
            continue
        evidence.units[match["prefix"].strip(), match["unit"].strip()] += count
        for kind, mark in marks:
            getattr(evidence, kind)[mark] += count
    return evidence


def _marks(digits: str) -> list[tuple[str, str]] | None:
    """Tell what each mark in the digits of a number is; None where they are no number (`1.2.3`)."""
    number = re.split("[de]", digits.lower())[0]
    groups = sorted({character for character in number if character in GROUPS})
    points = [character for character in number if character in ".,"]
    if len(groups) > 1 or (groups and len(set(points)) > 1):
        return None
    if groups:
        thousands, decimal = groups[0], points[0] if points else "."
        marks = [("thousands", thousands), *([("decimals", decimal)] if points else [])]
    elif len(set(points)) == 2:
        thousands, decimal = points[0], points[-1]
        marks = [("thousands", thousands), ("decimals", decimal)]
    elif len(points) > 1:
        thousands, decimal = points[0], ""
        marks = [("thousands", thousands)]
    elif points:
        before, _, after = number.partition(points[0])
        could_group = re.fullmatch(r"[1-9]\d{0,2}", before) and len(after) == 3
        return [("ambiguous" if could_group else "decimals", points[0])]
    else:
        return []
    return marks if _pattern(decimal or "~", thousands).fullmatch(number) else None


def infer(evidence: Evidence, others: Iterable[Evidence], separator: str = ",") -> NumberFormat | None:
    """Infer the format of a column.

    Args:
        evidence: that of the column.
        others: that of all columns of the file, which decide where the column's own cells may mean two things.
        separator: of the file's cells: where it is a comma, a decimal comma is unlikely.

    Returns:
        None where it remains open whether a comma is decimal or separates thousands.
    """
    prefix, unit = evidence.units.most_common(1)[0][0]
    marks = _marks_of(evidence)
    if marks is None:
        everywhere = [_marks_of(other) for other in others]
        commas = any(pair is not None and pair[0] == "," for pair in everywhere)
        points = any(pair is not None and pair[0] == "." for pair in everywhere)
        if "," in evidence.ambiguous:
            if commas == points and (commas or separator != ","):
                return None
            marks = (",", "") if commas else (".", ",")
        else:
            marks = (",", ".") if "." in evidence.ambiguous and commas and not points else (".", "")
    return NumberFormat(*marks, prefix, unit)


def _marks_of(evidence: Evidence) -> tuple[str, str] | None:
    """Return decimal mark and separator of thousands that most cells of a column tell for sure; None: they do not."""
    decimal = evidence.decimals.most_common(1)[0][0] if evidence.decimals else ""
    thousands = evidence.thousands.most_common(1)[0][0] if evidence.thousands else ""
    if not decimal and not thousands:
        return None
    if not decimal:
        decimal = "," if thousands == "." else "."
    if thousands == decimal:
        thousands = ""
    if not thousands and (other := "," if decimal == "." else ".") in evidence.ambiguous:
        thousands = other
    return decimal, thousands
