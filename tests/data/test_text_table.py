"""Text tables as programs save them are read; what is no table is refused in one sentence with the key that helps."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.preparing import prepare
from src.system.errors import UserError
from tests.data.support import csv, line

ROWS = [(f"{k * 0.37 % 5:.2f}", ("rot", "grün", "blau")[k % 3], "uv"[k % 2]) for k in range(60)]
HEADER = ("x", "Farbe", "y")


def text(separator: str = ",", header: tuple[str, ...] | None = HEADER, end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in ([header] if header else []) + ROWS)


def digest(folder: Path, content: Any, name: str = "t.csv", **values: Any) -> str:
    return str(prepare(csv(folder, content, name, **values), folder / "out").sha256)


@pytest.mark.parametrize(
    ("content", "name", "values"),
    [
        pytest.param(text(";"), "t.csv", {}, id="semicolons"),
        pytest.param(text("\t"), "t.tsv", {}, id="tabs"),
        pytest.param(text("\t"), "t.csv", {"separator": r"\t"}, id="a tab that was asked for"),
        pytest.param(text("|"), "t.csv", {}, id="bars"),
        pytest.param(text("  "), "t.txt", {}, id="blanks"),
        pytest.param(text(", "), "t.csv", {}, id="blanks after commas"),
        pytest.param("sep=;\n" + text(";"), "t.csv", {}, id="Excel's first line"),
        pytest.param("sep=;\r\n" + text(";", end="\r\n"), "t.csv", {}, id="Excel's first line and line ends"),
        pytest.param(text(end="\r"), "t.csv", {}, id="line ends of old"),
        pytest.param(text().encode("utf-8-sig"), "t.csv", {}, id="UTF-8 with its mark"),
        pytest.param(text("\t").encode("utf-16"), "t.csv", {}, id="UTF-16"),
        pytest.param(text().encode("utf-16-le"), "t.csv", {}, id="UTF-16 without its mark"),
        pytest.param(text().encode("utf-32"), "t.csv", {}, id="UTF-32"),
        pytest.param(text().encode("latin-1"), "t.csv", {"encoding": "latin-1"}, id="latin-1, said"),
        pytest.param(gzip.compress(text().encode()), "t.csv.gz", {}, id="gzip"),
        pytest.param(bz2.compress(text().encode()), "t.csv.bz2", {}, id="bzip2"),
        pytest.param(lzma.compress(text().encode()), "t.csv.xz", {}, id="xz"),
        pytest.param("Report of May\n\n" + text(), "t.csv", {"skip_rows": 2}, id="lines before the header"),
        pytest.param(text() + "Total,,\n", "t.csv", {"skip_footer": 1}, id="a footer"),
        pytest.param(text(header=None), "t.csv", {"columns": list(HEADER)}, id="no header"),
        pytest.param(text().replace("\n", "\n\n"), "t.csv", {}, id="blank lines"),
        pytest.param(text().replace("\n", ",\n"), "t.csv", {}, id="a comma at every end"),
    ],
)
def test_however_a_table_is_saved(tmp_path: Path, content: Any, name: str, values: dict[str, Any]) -> None:
    assert digest(tmp_path / "1", content, name, **values) == digest(tmp_path / "2", text())


def test_a_saved_index_is_left_out_and_said(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS, columns=HEADER)
    meta = prepare(csv(tmp_path, table.to_csv()), tmp_path / "out")
    assert line(meta, "Unnamed: 0")["kind"] == "left out"
    assert meta.sha256 == digest(tmp_path / "2", text())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(text(header=None), ["looks like a row", "data.columns"], id="no header"),
        pytest.param(text() + "Total,,\n", ["footer", "data.skip_footer=1"], id="total"),
        pytest.param(text() + "Source: a bank\n", ["data.skip_footer=1"], id="a source"),
        pytest.param(text() + ",,\nsaved by hand\n", ["data.skip_footer=2"], id="two lines"),
        pytest.param("Report of May, June\n" + text(), ["not a table", "data.skip_rows"], id="a title"),
        pytest.param(text() + text(), ["data row 61 is the header again"], id="joined files"),
        pytest.param(text().encode("latin-1"), ["not utf-8", "data.encoding"], id="latin-1"),
        pytest.param(text().replace("rot", 'r"ot').encode() + b'"', ["t.csv"], id="an odd quote"),
        pytest.param(b"PK\x03\x04\x00\x00" + bytes(100), ["bytes of zero"], id="a spreadsheet"),
        pytest.param(text().replace(",", "~"), ["one column only", "data.separator"], id="an unknown separator"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        prepare(csv(tmp_path, content), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_short_rows_are_said(tmp_path: Path) -> None:
    table = "y,Farbe,z\n" + "".join(f"{y},{word},{x}\n" for x, word, y in ROWS[:30]) + "u,rot\n" * 2
    meta = prepare(csv(tmp_path, table), tmp_path / "out")
    assert "2 rows have fewer cells than the first line, the first is data row 31" in meta.warnings[0]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        pytest.param(
            lambda: ",".join(f"c{k}" for k in range(100_000)) + "\n", "t.csv", ["100,000 columns"], id="columns"
        ),
        pytest.param(lambda: ",".join(f"c{k}" for k in range(10**6)) + "\n", "t.csv", ["MB"], id="a million columns"),
        pytest.param(lambda: text() + "1," + "a" * 20_000_000 + ",u\n", "t.csv", ["line 62", "20.0 MB"], id="20 MB"),
        pytest.param(lambda: gzip.compress(bytes(300 << 20), 1), "t.csv.gz", ["unpacks to more than"], id="a bomb"),
        pytest.param(lambda: gzip.compress(text().encode())[:-30], "t.csv.gz", ["not a whole gzip"], id="torn gzip"),
        pytest.param(lambda: lzma.compress(text().encode())[:-9], "t.csv.xz", ["not a whole xz"], id="torn xz"),
        pytest.param(lambda: text().encode(), "t.csv.bz2", ["not a whole bz2"], id="no bzip2"),
        pytest.param(lambda: b"PK", "t.zip", ["no text file"], id="zip"),
    ],
)
def test_sizes_and_damage_are_seen_before_any_work(tmp_path: Path, content: Any, name: str, words: list[str]) -> None:
    config = csv(tmp_path, content(), name)
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        prepare(config, tmp_path / "out")
    assert time.process_time() - start < 3  # a second on a machine with nothing else to do
    assert all(word in str(caught.value) for word in words)


def mutated(rng: random.Random, content: str) -> str:
    """A small accident: characters, cells or lines changed, lost, doubled or swapped."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    cells = lines[at].rstrip("\n").split(",")
    column = rng.randrange(len(cells))
    kind = rng.choice(
        ["cell", "drop cell", "add cell", "drop line", "double line", "swap", "character", "quote", "cut"]
    )
    if kind == "cell":
        words = [
            "",
            "NA",
            "None",
            "inf",
            "-1e400",
            "1,5",
            "1.234,5",
            "007",
            "12 kg",
            "nan",
            "=cmd|' /C calc'!A0",
            "\x00",
        ]
        cells[column] = rng.choice([*words, "é", "☃", "1e999", "0x1F", '"', "a" * 300, "2023-02-30", "\ufeff", "  "])
    elif kind == "drop cell":
        del cells[column]
    elif kind == "add cell":
        cells.insert(column, rng.choice(["1", "x", ""]))
    lines[at] = ",".join(cells) + "\n"
    if kind == "drop line":
        del lines[at]
    elif kind == "double line":
        lines.insert(at, lines[at])
    elif kind == "swap":
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    whole = "".join(lines)
    place = rng.randrange(len(whole))
    if kind == "character":
        whole = whole[:place] + rng.choice("\t;|,.'\"\r\n0é -%") + whole[place + 1 :]
    elif kind == "quote":
        whole = whole[:place] + '"' + whole[place:]
    elif kind == "cut":
        whole = whole[:place]
    return whole


def test_hundred_accidents_bring_no_traceback_and_no_silent_change(tmp_path: Path) -> None:
    """Each is refused in one sentence, said, or changes no more than the cells of one row or the number of rows by one."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"a": rng.standard_normal(80).round(3), "w": rng.choice(["red", "blue"], 80)})
    content = table.assign(b=rng.integers(0, 50, 80), y=["no", "yes"] * 40).to_csv(index=False)
    clean = prepare(csv(tmp_path, content), tmp_path / "out")
    kinds = [(each["column"], each["kind"]) for each in clean.profile]
    refusals: list[str] = []
    for seed in range(100):
        config = csv(tmp_path, mutated(random.Random(seed), content).encode())
        try:
            meta = prepare(config, tmp_path / "out")
        except UserError as error:
            refusals.append(str(error))
            continue
        rows = meta.n_rows
        said = meta.warnings or any(each["note"] for each in meta.profile)
        if content.startswith((tmp_path / "t.csv").read_text(encoding="utf-8")):
            continue  # cut between two lines: a smaller table
        assert said or ([(each["column"], each["kind"]) for each in meta.profile] == kinds and abs(rows - 80) <= 1), (
            seed
        )
    assert 20 < len(refusals) < 80
    assert not [sentence for sentence in refusals if "\n" in sentence]
