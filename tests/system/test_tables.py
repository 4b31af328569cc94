"""A table comes back as it was, and no spreadsheet finds a formula in it."""

import csv
from pathlib import Path

from src.system.tables import csv_text, read_csv

TEXTS = ["=cmd|' /C calc'!A0", "+1+1", "-relu", "@SUM(A1)", "\tx", "'=a", "''", "'quoted'", "-0.5", "1e-3", "ä, “b”\nc"]


def test_texts_come_back(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_text(["=x", "n"], [{"=x": text, "n": 1} for text in TEXTS]), encoding="utf-8")
    assert [row["=x"] for row in read_csv(tmp_path / "a.csv", "")] == TEXTS
    assert read_csv(tmp_path / "none.csv", "") == []


def test_no_text_begins_as_a_formula_does_and_numbers_stay_numbers() -> None:
    header, *rows = csv.reader(csv_text(["=x", "n"], [{"=x": t, "n": -0.5} for t in TEXTS]).splitlines(keepends=True))
    for cell in (header[0], *(row[0] for row in rows)):
        assert cell[0] not in "=+@\t\r"
        assert cell[0] != "-" or float(cell)
    assert {row[1] for row in rows} == {"-0.5"}
    assert csv_text(["a", "b"], [{"b": None}]) == "a,b\n,\n"
