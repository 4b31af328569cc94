"""Targets: numbers keep their precision until they are standardised, labels keep their type."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.dataset import load, load_test, read_meta, train_targets
from src.data.preparing import prepare
from src.system.errors import UserError
from tests.data.support import conf, csv
from tests.support.running import Place

RNG = np.random.default_rng(2)
REGRESSION = {"task": "regression"}


def table(y: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": RNG.standard_normal(len(y)), "y": y})


@pytest.mark.parametrize(("offset", "kind"), [(0, np.float32), (1.7e9, np.float64), (2000.1, np.float64)])
def test_large_targets_of_small_spread_keep_their_digits(tmp_path: Path, offset: float, kind: type) -> None:
    y = offset + RNG.permutation(100) / 8
    meta = prepare(csv(tmp_path, table(y), **REGRESSION), tmp_path / "out")
    stored = train_targets(tmp_path / "out")
    assert stored.dtype == kind
    assert set(stored) | set(load_test(tmp_path / "out")[1]) <= set(y.astype(kind))
    standardised = load(tmp_path / "out").y_train
    assert standardised.dtype == np.float32
    assert len(np.unique(standardised)) == len(np.unique(stored)) == meta.n_train
    assert np.allclose(standardised, (stored - stored.mean(dtype=float)) / stored.std(dtype=float), atol=1e-5)


@pytest.mark.parametrize("write", ["{:,.2f} €", "{:.2f}%", "${:.2f}"])
def test_targets_are_read_as_columns_are(tmp_path: Path, write: str) -> None:
    y = RNG.uniform(1000, 9000, 60).round(2)
    for name, cells in ("plain", y), ("written", [write.format(value) for value in y]):
        written = pd.DataFrame({"a": np.arange(60) % 7, "y": cells})
        prepare(csv(tmp_path / name, written, **REGRESSION), tmp_path / name / "out")
    expected = train_targets(tmp_path / "plain/out")
    assert np.array_equal(train_targets(tmp_path / "written/out"), expected)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([*range(59), 1e40], ["'y' is 1e+40 in data row 60", "data.target_scale=1e40"]),
        ([*range(59), -1e300], ["data row 60", "data.target_scale"]),
        ([1 + 1e-40 * 0] * 60, ["is 1 in every"]),
        (np.arange(60) * 1e-40, ["spread", "data.target_scale"]),
    ],
)
def test_what_32_bits_cannot_hold(tmp_path: Path, y: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        prepare(csv(tmp_path, table(y), **REGRESSION), tmp_path / "out")
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("labels", "names", "values"),
    [
        (["1", "1.0", "0"], ["0", "1"], [0, 1]),
        (["-1", "5", "10"], ["-1", "5", "10"], [-1, 5, 10]),
        (["0.5", "1.5"], ["0.5", "1.5"], [0.5, 1.5]),
        (["True", "FALSE"], ["False", "True"], [False, True]),
        (["01", "1"], ["01", "1"], ["01", "1"]),
        (["b", "a", "10"], ["10", "a", "b"], ["10", "a", "b"]),
        (["9007199254740993", "1"], None, None),
    ],
)
def test_labels_keep_their_type(tmp_path: Path, labels: list[str], names: Any, values: Any) -> None:
    cells = [labels[k % len(labels)] for k in range(90)]
    meta = prepare(csv(tmp_path, table(cells)), tmp_path / "out")
    stored = json.loads((tmp_path / "out/meta.json").read_text(encoding="utf-8"))
    assert stored["class_values"] == meta.class_values
    if names is None:
        assert "9007199254740993" in meta.class_names
        return
    assert meta.class_names == names
    assert meta.class_values == values
    assert [type(value) for value in meta.class_values] == [type(value) for value in values]


def test_a_class_called_none(tmp_path: Path) -> None:
    cells = ["None", "mild", "severe"] * 30
    with pytest.raises(UserError, match=r"'None' is a word for a missing value.*'data\.na_values=\{y: \[\]\}'"):
        prepare(csv(tmp_path, table(cells)), tmp_path / "out")
    meta = prepare(csv(tmp_path, table(cells), na_values={"y": []}), tmp_path / "out")
    assert meta.class_names == ["None", "mild", "severe"]
    with pytest.raises(UserError, match=r"data\.na_values names 'z', (which is )?no column"):
        prepare(csv(tmp_path, table(cells), na_values={"z": []}), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["{y: []}", "{y: [None]}", "[mild_]"])
def test_words_for_a_missing_value_on_the_command_line(tmp_path: Path, words: str) -> None:
    first = "None" if words.endswith("[]}") else "No"
    csv(tmp_path, table([first, "mild", "severe"] * 30))
    values = ["data.file=t.csv", "data.target=y", "data.task=classification", f"data.na_values={words}"]
    Place(tmp_path).run("data=csv", *values, verb="prepare")
    assert read_meta(tmp_path / "data/prepared/csv").class_names == [first, "mild", "severe"]


def test_a_rare_class_is_said(tmp_path: Path) -> None:
    meta = prepare(csv(tmp_path, table(["rare" if k % 50 == 0 else "ok" for k in range(400)])), tmp_path / "out")
    assert "class 'rare' has 8 of 400 rows (2.0%)" in meta.warnings[0]
    assert not prepare(csv(tmp_path, table(["a", "b"] * 40)), tmp_path / "out").warnings


CASES = Path(os.environ.get("LOCKSTEP_DATA", "../shared/data")).resolve().parent / "cases"


@pytest.mark.parametrize(
    ("file", "target", "task", "kinds"),
    [
        ("deccomma2.csv", "ok", "classification", {"temp": "number decimal ','", "flow": "number decimal ','"}),
        ("decdot2.csv", "ok", "classification", {"temp": "number", "flow": "number"}),
        ("thousands2.csv", "score", "regression", {"salary": "number thousands ','"}),
        ("units.csv", "y", "classification", {"weight": "number in kg"}),
        ("percent.csv", "y", "classification", {"share": "number in %"}),
        ("mixed.csv", "y", "classification", {"x": "number"}),
        ("dates.csv", "sales", "regression", {"day": "ISO8601: time, month, day, weekday"}),
        ("ids.csv", "y", "classification", {"id": "left out"}),
        ("zips.csv", "price", "regression", {"zip": "category"}),
        ("index_leak.csv", "kind", "classification", {"Unnamed: 0": "left out"}),
        ("labels_float.csv", "y", "classification", {"y": "2 classes"}),
        ("intlabels.csv", "y", "classification", {"y": "3 classes"}),
        ("bools.csv", "y", "classification", {"flag": "boolean"}),
        ("tab.tsv", "y", "classification", {"k": "category"}),
        ("excelsep.csv", "y", "classification", {"x": "number"}),
        ("utf16.csv", "y", "classification", {"Stadt": "category"}),
        ("names.csv", "größe [cm]", "regression", {"Farbe des Tages": "category"}),
        ("timestamp_target2.csv", "when", "regression", {"when": "number"}),
    ],
)
def test_cases_that_were_read_wrongly(tmp_path: Path, file: str, target: str, task: str, kinds: dict[str, str]) -> None:
    if not (CASES / file).exists():
        pytest.skip(f"{CASES / file} is not there")
    config = conf("csv", root=str(CASES), file=file, target=target, task=task)
    meta = prepare(config, tmp_path / "out")
    read_as = {each["column"]: each["read_as"] for each in meta.profile}
    assert kinds.items() <= read_as.items()
