"""Further members of the kinds of cells, labels and files that were read wrongly without a word."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data import date_format, remarks
from src.data.inference import Hints, infer
from src.data.number_format import collect
from src.data.number_format import infer as number_format
from src.data.preparing import prepare
from src.data.raw import Column, ProfileLine
from src.data.target import labels_of
from src.system.errors import UserError
from tests.data.support import csv, line

N = 60
RNG = np.random.default_rng(8)
NUMBERS = RNG.uniform(1000, 90000, N).round(2)
ORDER = [int(k) for k in RNG.permutation(N)]
TIMES = [datetime.datetime(2022, 3, 1, k % 24, k * 7 % 60, k * 11 % 60) + datetime.timedelta(days=3 * k) for k in ORDER]

T, V = list(enumerate(TIMES)), list(enumerate(NUMBERS))


def column(cells: list[str], name: str = "c") -> tuple[list[Column], ProfileLine]:
    """What inference makes of a column of training rows, beside one of numbers."""
    frame = pd.DataFrame({name: cells, "b": [f"{k * 0.37 % 5:.2f}" for k in range(len(cells))]})
    frame.index = pd.MultiIndex.from_product([["t.csv"], range(len(cells))])
    columns, profile = infer(frame, Hints())
    return columns, profile[0]


def lakhs(value: float) -> str:
    head, tail = f"{value:.0f}"[:-3], f"{value:.0f}"[-3:]
    return re.sub(r"(?<=\d)(?=(?:\d\d)+$)", ",", head) + "," + tail


NUMBER_FORMS: dict[str, Any] = {
    "Swiss curly apostrophes": lambda v: f"{v:,.2f}".replace(",", "’"),
    "thin spaces": lambda v: f"{v:,.2f}".replace(",", "\u2009"),
    "narrow spaces and a comma": lambda v: f"{v:,.2f}".replace(",", "\u202f").replace(".", ","),
    "lakhs": lambda v: lakhs(100 * v),
    "accountants' negatives": lambda v: f"({v:,.2f})" if v > 30_000 else f"{v:,.2f}",
    "accountants' dollars": lambda v: f"(${v:,.2f})" if v > 30_000 else f"${v:,.2f}",
    "a minus behind": lambda v: f"{v}-" if v > 30_000 else str(v),
    "US$": "US${}".format,
    "R$": "R$ {}".format,
    "bitcoins": "₿{}".format,
    "liras": "{} ₺".format,
    "a minus before the currency": "-${}".format,
    "a minus behind the currency": "$-{}".format,
    "francs": lambda v: f"CHF {v:,.2f}".replace(",", "’"),
    "zlotys": lambda v: f"{v:.2f} zł".replace(".", ","),
    "Fortran": lambda v: f"{v:.4E}".replace("E", "D"),
    "wide digits": lambda v: str(v).translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    "plus": "+{}".format,
    "basis points": "{}bps".format,
}


@pytest.mark.parametrize("form", NUMBER_FORMS)
def test_numbers_of_other_countries_and_trades(form: str) -> None:
    cells = [NUMBER_FORMS[form](v) for v in NUMBERS]
    evidence = collect(dict.fromkeys(cells, 1))
    number = number_format(evidence, [evidence])
    assert number is not None
    values = [number.parse(cell) for cell in cells]
    factor = 100 if form == "lakhs" else 1
    assert np.allclose(np.abs(np.array(values, float)), factor * NUMBERS, rtol=1e-4)
    negative = {cell for cell in cells if set(cell) & set("(-")} - {c for c in cells if "E-" in c}
    assert {cell for cell, value in zip(cells, values, strict=True) if value is not None and value < 0} == negative
    assert column(cells)[1]["kind"] == "number"


@pytest.mark.parametrize(
    "form",
    [
        *(
            "%a %d %b %Y",
            "%A, %d %B %Y",
            "%d%b%Y",
            "%d. %B %Y",
            "%b-%y",
            "%Y%m%dT%H%M%S",
            "%Y%m%d%H%M%S",
            "%Y%m%d %H:%M",
        ),
        *("%Y-%m-%d %H:%M:%S UTC", "%d.%m.%Y %H:%M Uhr", "%d.%m.%Y, %H:%M", "%a %b %d %H:%M:%S %Y", "%b %d %Y %I:%M%p"),
        *("%a, %d %b %Y %H:%M:%S +0000", "%d/%b/%Y:%H:%M:%S +0000", "%Y:%m:%d %H:%M:%S", "%m/%d/%Y, %I:%M:%S %p"),
    ],
)
def test_dates_of_other_programs(form: str) -> None:
    cells = [time.strftime(form) for time in TIMES]
    columns, profile = column(cells)
    assert profile["kind"] == "date"
    read = date_format.parse(cells, columns[0]["reading"]["dates"])
    assert [time.strftime(form) for time in read] == cells


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        pytest.param([f"{k % 9}:1" for k in ORDER], "category", [], id="ratios"),
        pytest.param(["9999-12-31" if k % 9 == 0 else t.date().isoformat() for k, t in T], "date", [], id="end"),
        pytest.param(["unknown" if k % 9 == 0 else t.date().isoformat() for k, t in T], "date", ["'unknown' in"]),
        pytest.param([f"{t.year + 543}-{t.month:02}-{t.day:02}" for t in TIMES], "date", [], id="Buddhist years"),
        pytest.param([t.strftime("%d.%m.%Y" if k % 2 else "%Y-%m-%d") for k, t in T], "left out", ["like dates"]),
        pytest.param([f"{t.day}. März {t.year}" for t in TIMES], "category", ["looks like dates"], id="März"),
        pytest.param([f"{t.year}-W{t.isocalendar()[1]:02}" for t in TIMES], "category", ["or weeks"], id="ISO weeks"),
        pytest.param([f"KW {k % 9 + 1}" for k in range(N)], "category", ["quarters or weeks"], id="weeks"),
        pytest.param([f"{2020 + k % 3}-Q{k % 4 + 1}" for k in range(N)], "category", ["quarters or weeks"], id="quarters"),
        pytest.param([f"w{k % 9 + 1}" for k in range(N)], "category", [], id="no weeks"),
        pytest.param([f"{k:05}" for k in ORDER], "left out", ["leading zeros", "data.keep"], id="padded ids"),
        pytest.param([f"{k * 7919:08x}" for k in ORDER], "left out", ["data.keep"], id="hex ids"),
        pytest.param([str(10**20 + 7 * k) for k in ORDER], "left out", ["more digits than a number"], id="20 digits"),
        pytest.param([str(10**20 + 7 * (k % 3)) for k in ORDER], "category", ["more digits"], id="three codes"),
        pytest.param([str(1000 + k) for k in range(N)], "left out", ["counts the rows"], id="from 1000"),
        pytest.param([str(N - k) for k in range(N)], "left out", ["counts the rows"], id="downwards"),
        pytest.param([str(10 * k) for k in range(N)], "number", [], id="a grid"),
        pytest.param(["-999" if k % 9 == 0 else str(v) for k, v in V], "number", ["-999 in 7 rows"], id="-999"),
        pytest.param(["999" if k % 9 == 0 else str(k % 7) for k in range(N)], "number", ['values=["999"]'], id="999"),
        pytest.param(["99" if k % 9 == 0 else str(60 + k % 37) for k in range(N)], "number", [], id="no sentinel"),
        pytest.param([f"1.{k % 12}" for k in range(N)], "number", ["'1.1' and '1.10' are one number"], id="versions"),
        pytest.param([f"{v:.0f} {('KB', 'MB')[k % 2]}" for k, v in V], "left out", ["different units"], id="MB"),
        pytest.param([f"{v}{'%' * (k % 2)}" for k, v in V], "left out", ["different units"], id="% at times"),
        pytest.param([str(v).replace(".", ".,"[k % 2]) for k, v in V], "left out", ["numbers in 50%"], id="marks"),
        pytest.param([f"[{k % 5}, {k % 2}]" for k in range(N)], "category", ["lists or JSON"], id="lists"),
        pytest.param([f'{{"a": {k % 5}}}' for k in range(N)], "category", ["lists or JSON"], id="JSON"),
        pytest.param(["red", "Red", "blue"] * 20, "category", ["'red' and 'Red' may be one"], id="case"),
        pytest.param(["red", "r\u200bed"] * 30, "category", ["'red' and 'r\\u200bed' may be one"], id="invisible"),
        pytest.param(["é", "e\u0301"] * 30, "category", ["'\\xe9' and 'e\\u0301' may be one"], id="accents"),
    ],
)  # fmt: skip
def test_a_column_is_read_right_or_remarked_on(cells: list[str], kind: str, words: list[str]) -> None:
    profile = column(cells)[1]
    assert profile["kind"] == kind
    assert all(word in profile["note"] for word in words)
    assert bool(profile["note"]) == bool(words)


@pytest.mark.parametrize("name", ["Kundennummer", "Lfd. Nr.", "case_no", "Account Number"])
def test_further_names_of_ids(name: str) -> None:
    assert column([str(5000 + 3 * k) for k in ORDER], name)[1]["kind"] == "left out"


def test_a_time_that_counts_is_no_id() -> None:
    assert column([str(1950 + k) for k in range(N)], "year")[1]["kind"] == "number"


@pytest.mark.parametrize(
    ("labels", "twins"),
    [
        (["True", "1", "0"], "'True' and '1'"),
        (["1", "1.0", "01"], "'1' and '1.0'"),
        (["Yes", "yes", "no"], "'Yes' and 'yes'"),
        ([">50K", ">50K.", "<=50K"], "'>50K' and '>50K.'"),
        (["a b", "a  b"], "'a b' and 'a  b'"),
        (["+1", "-1", "1"], ""),
        (["A", "B"], ""),
    ],
)
def test_labels_that_may_be_one(labels: list[str], twins: str) -> None:
    distinct = dict.fromkeys(str(label) for label in labels_of(pd.Series(labels), ""))
    assert remarks.alike(distinct) == (f"{twins} may be one" if twins else "")


def test_labels_and_column_names_that_look_alike_are_said(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": NUMBERS, "x\u200b": NUMBERS[::-1], "y": ["Yes", "yes", "no"] * 20})
    warnings = " ".join(prepare(csv(tmp_path, table), tmp_path / "out").warnings)
    assert "the columns 'x' and 'x\\u200b' look the same" in warnings
    assert "classes 'Yes' and 'yes' may be one" in warnings


def test_words_that_only_test_rows_have_are_said(tmp_path: Path) -> None:
    part = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    cells = ["red", "blue"] * 25 + ["Red", "Blue"] * 5
    table = pd.DataFrame({"x": NUMBERS, "c": cells, "y": ["u", "v"] * 30, "part": part})
    (sentence,) = prepare(csv(tmp_path, table, split_column="part"), tmp_path / "out").warnings
    assert (
        "column 'c': 'Red' in data row 51 of t.csv and 9 more of 10 test rows are words that no training row has"
        in sentence
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([2**60 + k for k in ORDER], ["'y'", "64 bits loses", "subtract"]),
        (["?" if k == 3 else str(k) for k in ORDER], ["'?' is not a number", "data.task=classification"]),
    ],
)
def test_targets_that_are_no_numbers_of_64_bits(tmp_path: Path, values: list[Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        prepare(csv(tmp_path, pd.DataFrame({"x": NUMBERS, "y": values}), task="regression"), tmp_path / "out")
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("separator", "said"), [("||", "||"), ("||", r"\|\|"), ("::", "::"), (";", "[,;]"), ("^", "^"), ("\x1f", "\x1f")]
)
def test_separators_that_are_said(tmp_path: Path, separator: str, said: str) -> None:
    rows = [("x", "c", "y"), *((f"{v}", ("r", "g")[k % 2], "uv"[k // 2 % 2]) for k, v in enumerate(NUMBERS))]
    for folder, mark, values in ("1", separator, {"separator": said}), ("2", ",", {}):
        content = "".join(mark.join(row) + "\n" for row in rows)
        meta = prepare(csv(tmp_path / folder, content, **values), tmp_path / folder / "out")
        assert line(meta)["kind"] == "category"
    assert (tmp_path / "1/out/x_test.npy").read_bytes() == (tmp_path / "2/out/x_test.npy").read_bytes()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"encoding": "base64"}, "data.encoding='base64' is not an encoding"),
        ({"encoding": "rot13"}, "data.encoding='rot13' is not an encoding"),
        ({"separator": "(("}, "data.separator='((' is no regular expression"),
        ({"target": "c"}, "a number to predict is data.task=regression"),
        ({}, "'1e300' is beyond 1e+100"),
    ],
)
def test_what_is_refused_in_one_sentence(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    cells = ["1e300", *map(str, NUMBERS[1:])]
    with pytest.raises(UserError) as caught:
        prepare(csv(tmp_path, pd.DataFrame({"c": cells, "y": ["u", "v"] * 30}), **values), tmp_path / "out")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
