"""What each column is, told by its cells: a number, a category, a date, an id; never read wrongly without a word."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.columns import Reading, conform, with_zeros
from src.data.dataset import load, raw_example, transform
from src.data.number_format import NumberFormat, collect, infer
from src.data.preparing import prepare
from src.system.errors import UserError
from tests.data.support import csv, line, one_column

N = 120
RNG = np.random.default_rng(5)
NUMBERS = RNG.uniform(1000, 90000, N).round(2)
DAYS = [datetime.date(2022, 3, 1) + datetime.timedelta(days=int(k) * 3) for k in RNG.permutation(N)]


def german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


@pytest.mark.parametrize(
    ("write", "read_as"),
    [
        pytest.param(str, "number", id="plain"),
        pytest.param("{:.3e}".format, "number", id="exponents"),
        pytest.param(lambda v: f"{v}".replace(".", ","), "number decimal ','", id="decimal comma"),
        pytest.param(german, "number decimal ',', thousands '.'", id="German"),
        pytest.param("{:,.2f}".format, "number thousands ','", id="English"),
        pytest.param(lambda v: f"{v:,.2f}".replace(",", "'"), 'number thousands "\'"', id="Swiss"),
        pytest.param(lambda v: f"{v:,.2f}".replace(",", "\u202f"), "number thousands '\\u202f'", id="SI"),
        pytest.param("{} kg".format, "number in kg", id="a unit"),
        pytest.param("{}m²".format, "number in m²", id="a unit without a blank"),
        pytest.param("{} m3/h".format, "number in m3/h", id="a unit with a digit"),
        pytest.param("{}%".format, "number in %", id="percent"),
        pytest.param("{} °C".format, "number in °C", id="degrees"),
        pytest.param("${:,.2f}".format, "number thousands ',', in $", id="dollars"),
        pytest.param("€ {}".format, "number in €", id="a currency before"),
        pytest.param(lambda v: german(v) + " €", "number decimal ',', thousands '.', in €", id="euros"),
        pytest.param(lambda v: f"−{v}", "number", id="a real minus"),
        pytest.param(" {} ".format, "number", id="blanks"),
    ],
)
def test_numbers_as_people_write_them(tmp_path: Path, write: Any, read_as: str) -> None:
    plain = one_column(tmp_path / "plain", [write(v) if read_as == "number" else str(v) for v in NUMBERS])
    meta = one_column(tmp_path / "written", [write(v) for v in NUMBERS])
    assert (line(meta)["kind"], line(meta)["read_as"]) == ("number", read_as)
    assert np.allclose(load(tmp_path / "written/out").x_train, load(tmp_path / "plain/out").x_train, atol=1e-5)
    assert meta.n_train == plain.n_train


@pytest.mark.parametrize(
    ("cells", "others", "decimal", "thousands"),
    [
        (["3,122", "2,043"], ["20,05"], ",", ""),
        (["3,122", "2,043"], ["20.05"], ".", ","),
        (["3.122", "2.043"], ["20,05"], ",", "."),
        (["3.122", "2.043"], ["20.05"], ".", ""),
        (["3.122", "2.043"], [], ".", ""),
        (["1,234,567", "12"], [], ".", ","),
        (["0,123", "1,500"], [], ",", ""),
    ],
)
def test_what_may_mean_two_things_is_told_by_the_other_columns(
    cells: list[str], others: list[str], decimal: str, thousands: str
) -> None:
    evidence = [collect(dict.fromkeys(column, 1)) for column in (cells, others)]
    assert infer(evidence[0], evidence, ";") == NumberFormat(decimal, thousands)


def test_a_comma_that_nothing_explains_is_asked_about(tmp_path: Path) -> None:
    rows = "\n".join(f"{k},{100 + k};{'uv'[k % 2]}" for k in range(1, 60))
    with pytest.raises(UserError, match="column 'c': a comma may be decimal"):
        prepare(csv(tmp_path, f"c;y\n{rows}"), tmp_path / "out")
    for decimal, first in (",", 1.101), (".", 1101):
        meta = prepare(csv(tmp_path, f"c;y\n{rows}", decimal=decimal, scaling="standard"), tmp_path / decimal)
        assert conform(pd.DataFrame({"c": ["1,101"]}), meta.columns)["c"].tolist() == [first]


def each(word: str, step: int, form: str = "{}") -> list[str]:
    """Numbers, with a word in every so many rows."""
    return [word if k % step == 0 else form.format(v) for k, v in enumerate(NUMBERS)]


def texts(*words: str) -> list[str]:
    return [words[k % len(words)] for k in range(N)]


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        pytest.param(each("n/d", 9), "number", ["'n/d'", "missing"], id="n/d"),
        pytest.param(each("-", 119), "number", ["'-'", "missing"], id="a dash"),
        pytest.param(each("9 lb", 119, "{} kg"), "number", ["'9 lb'"], id="one other unit"),
        pytest.param(
            [f"{v} {'kg' if k % 2 else 'lb'}" for k, v in enumerate(NUMBERS)], "left out", ["words"], id="units"
        ),
        pytest.param(texts("3 kg", "5 lb", "7 kg"), "category", ["different units"], id="two units, few values"),
        pytest.param(texts("0", "1", "2", "3+"), "category", ["'3+'", "numbers in"], id="an open class"),
        pytest.param(texts("01010", "1010", "90210"), "category", ["leading zeros", "'01010'"], id="codes"),
        pytest.param(["007" if k % 3 else str(k) for k in range(N)], "category", ["leading zeros"], id="some codes"),
        pytest.param([f"cust-{k:05}" for k in range(N)], "left out", ["data.keep=[c]"], id="ids"),
        pytest.param([f"{k * 7919 % 997:08x}-{k}" for k in range(N)], "left out", ["id or free text"], id="hashes"),
        pytest.param([str(k) for k in range(N)], "left out", ["counts the rows"], id="row numbers"),
        pytest.param([str(k + 1) for k in range(N)], "left out", ["counts the rows"], id="row numbers from 1"),
        pytest.param(texts("True", "False"), "boolean", [], id="booleans"),
        pytest.param(texts("TRUE", "false", ""), "boolean", [], id="booleans in other letters"),
        pytest.param(texts("yes", "no"), "category", [], id="yes and no"),
        pytest.param(texts("7"), "number", ["one value only"], id="constant"),
        pytest.param(texts(""), "number", ["no value"], id="empty"),
        pytest.param(texts("1.2.3", "1.2.4"), "category", [], id="versions"),
        pytest.param(texts("10-20", "20-30"), "category", [], id="ranges"),
        pytest.param(texts("Q1", "Q2"), "category", [], id="quarters"),
    ],
)
def test_a_column_is_told_by_its_cells(tmp_path: Path, cells: list[str], kind: str, words: list[str]) -> None:
    found = line(one_column(tmp_path, cells))
    assert found["kind"] == kind
    assert all(word in found["note"] for word in words)
    assert bool(found["note"]) == bool(words)


@pytest.mark.parametrize(
    ("form", "features"),
    [
        ("%Y-%m-%d", "time, year, month, day, weekday"),
        ("%d.%m.%Y", "time, year, month, day, weekday"),
        ("%m/%d/%Y", "time, year, month, day, weekday"),
        ("%Y%m%d", "time, year, month, day, weekday"),
        ("%d %B %Y", "time, year, month, day, weekday"),
        ("%Y-%m-%dT%H:%M:%SZ", "time, year, month, day, weekday, hour"),
        ("%d/%m/%Y %H:%M", "time, year, month, day, weekday, hour"),
        ("%H:%M", "hour"),
    ],
)
def test_dates_become_calendar_features(tmp_path: Path, form: str, features: str) -> None:
    times = [datetime.datetime.combine(day, datetime.time(k % 24, k % 60)) for k, day in enumerate(DAYS)]
    cells = [time.strftime(form) for time in times]
    meta = one_column(tmp_path, cells)
    assert (line(meta)["kind"], line(meta)["read_as"].partition(": ")[2]) == ("date", features)
    values = conform(pd.DataFrame({"b": 0.0, "c": cells}), meta.columns)
    if "month" in features:
        assert values["c (month)"].tolist() == [time.month for time in times]
        assert values["c (weekday)"].tolist() == [time.weekday() for time in times]
    if "hour" in features:
        assert np.allclose(values["c (hour)"], [time.hour + time.minute / 60 for time in times])


def test_a_date_that_may_mean_two_things_is_asked_about(tmp_path: Path) -> None:
    cells = [f"{1 + k % 12:02}/{1 + k * 5 % 12:02}/2023" for k in range(N)]
    with pytest.raises(UserError, match=r"column 'c': '04/04/2023' may be %d/%m/%Y or %m/%d/%Y: set 'data.dates"):
        one_column(tmp_path, cells)
    meta = one_column(tmp_path, cells, dates={"c": "%m/%d/%Y"})
    assert conform(pd.DataFrame({"b": 0, "c": ["02/01/2023"]}), meta.columns)["c (month)"].tolist() == [2]


def test_dates_help_where_a_trend_is_what_there_is_to_learn(tmp_path: Path) -> None:
    meta = one_column(tmp_path, [day.isoformat() for day in DAYS], scaling="standard")
    time = load(tmp_path / "out").x_train[:, 1]
    assert meta.input_shape == (6,)
    assert abs(time.std() - 1) < 1e-5


def test_what_is_left_out_can_be_kept(tmp_path: Path) -> None:
    columns = ("id", [f"c{k}" for k in range(N)], "category"), ("row", [str(k) for k in range(N)], "number")
    for name, cells, kind in columns:
        kept = one_column(tmp_path / name, cells, keep=["c"])
        assert line(kept)["kind"] == kind
        assert one_column(tmp_path / name, cells).input_shape == (1,)
        assert kept.input_shape == (2,)


@pytest.mark.parametrize("name", ["id", "customer_id", "PassengerId", "Unnamed: 0", "row_nr", "index"])
def test_distinct_whole_numbers_under_the_name_of_an_id_are_left_out(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"b": NUMBERS, name: np.random.default_rng(1).permutation(N) + 500, "y": np.arange(N) % 2})
    assert line(prepare(csv(tmp_path, table), tmp_path / "out"), name)["kind"] == "left out"
    other = table.rename(columns={name: "paid"})
    assert line(prepare(csv(tmp_path, other), tmp_path / "out"), "paid")["kind"] == "number"


def test_only_training_rows_tell_what_a_column_is(tmp_path: Path) -> None:
    part = ["train"] * 100 + ["val"] * 10 + ["test"] * 10
    table = pd.DataFrame({"c": [str(v) for v in NUMBERS], "b": NUMBERS, "y": np.arange(N) % 2, "part": part})
    table.loc[115, "c"] = "unknown"
    meta = prepare(csv(tmp_path, table, split_column="part"), tmp_path / "out")
    assert line(meta)["kind"] == "number"
    assert not line(meta)["note"]
    (sentence,) = meta.warnings
    assert "'unknown' in data row 116 of t.csv" in sentence
    assert "counts as missing" in sentence
    with pytest.raises(UserError, match="'unknown' is not a number"):
        transform(tmp_path / "out", pd.DataFrame({"c": ["unknown"], "b": 0.0}))


@pytest.mark.parametrize(
    "cells",
    [
        [f"{v} kg" for v in NUMBERS],
        [german(v) for v in NUMBERS],
        ["n/d" if k % 9 == 0 else str(v) for k, v in enumerate(NUMBERS)],
        [day.isoformat() for day in DAYS],
        ["" if k % 7 == 0 else day.strftime("%d.%m.%Y") for k, day in enumerate(DAYS)],
        texts("TRUE", "FALSE"),
    ],
)
def test_served_rows_are_read_as_the_file_is(tmp_path: Path, cells: list[str]) -> None:
    one_column(tmp_path, cells)
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False).replace({"": None})
    first = load(tmp_path / "out").x_train[:5]
    assert np.array_equal(transform(tmp_path / "out", raw_example(tmp_path / "out")), first)
    assert any(np.array_equal(row, first[0]) for row in transform(tmp_path / "out", raw))


def test_typed_cells_of_a_caller_are_read_too() -> None:
    dates = Reading("date", dates="ISO8601", features=("month",)).column("d")
    columns = [Reading(number=NumberFormat(",", ".", "", "kg")).column("u"), Reading("boolean").column("f"), dates]
    raw = pd.DataFrame(
        {"u": [3.5, "1.234,5 kg"], "f": [True, "FALSE"], "d": [pd.Timestamp("2024-05-01"), "2024-06-01"]}
    )
    values = conform(raw, columns)
    assert values["u"].tolist() == [3.5, 1234.5]
    assert values["f"].tolist() == ["true", "false"]
    assert values["d (month)"].tolist() == [5, 6]


def test_a_code_that_came_as_a_number_is_the_code_of_the_file(tmp_path: Path) -> None:
    codes = np.resize(["01010", "00501", "90210"], 300)
    lines = [f"{code},{k % 7 + k / 1000},{'yes' if code == '01010' else 'no'}" for k, code in enumerate(codes)]
    prepare(csv(tmp_path, "\n".join(["zip,a,y", *lines])) | {"target": "y"}, tmp_path / "p")
    as_text = pd.DataFrame({"zip": codes[:3], "a": [0.5, 1.5, 2.5]})
    as_numbers = as_text.assign(zip=[1010, 501, 90210])
    expected = transform(tmp_path / "p", as_text)
    assert len(set(expected[:, -1])) == 3
    np.testing.assert_array_equal(transform(tmp_path / "p", as_numbers), expected)
    np.testing.assert_array_equal(transform(tmp_path / "p", as_numbers.astype({"zip": float})), expected)


def test_a_number_that_may_be_two_codes_is_refused() -> None:
    cells = pd.Series(["1010", "7"], name="zip")
    with pytest.raises(UserError, match="column 'zip': 1010 may be 01010 or 1010; give such codes as text"):
        with_zeros(cells, ["01010", "1010", "90210"])
    assert with_zeros(cells, ["00007", "90210"]).tolist() == ["1010", "00007"]
