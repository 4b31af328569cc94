"""A table that is read piece by piece becomes what it becomes when it is read at once."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data import large_table
from src.data.dataset import load, load_test, transform, verify
from src.data.preparing import prepare
from src.system.errors import UserError
from tests.data.support import conf, csv, line

N = 2000
PIECE = 300  # rows


def table(n: int = N) -> pd.DataFrame:
    """A table of all kinds of columns, with gaps."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(n) + 1000,
            "a": np.round(rng.standard_normal(n), 3),
            "b": rng.integers(0, 50, n).astype(float),
            "price": [f"{value:,.2f}" for value in rng.random(n) * 1e5],
            "day": (np.datetime64("2020-01-01") + rng.integers(0, 900, n)).astype(str),
            "word": np.array(["red", "green", "blue"])[rng.integers(0, 3, n)],
            "member": np.array(["yes", "no"])[rng.integers(0, 2, n)],
            "y": np.array(["left", "right"])[rng.integers(0, 2, n)],
        }
    )
    for name in ("a", "b", "word"):
        frame.loc[rng.random(n) < 0.1, name] = None
    return frame


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let tables of more than so many cells count as large, fitted on `sample` rows, and read by 300 rows."""

    def small(sample: int = N) -> None:
        monkeypatch.setattr(large_table, "MOST_CELLS", 1000)
        monkeypatch.setattr(large_table, "SAMPLE_CELLS", 8 * sample)
        monkeypatch.setattr(large_table, "PIECE_CELLS", 8 * PIECE)

    return small


def parquet(folder: Path, frame: pd.DataFrame, **values: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    frame.to_parquet(folder / "t.parquet", row_group_size=700)
    return conf("parquet", root=str(folder), **{"file": "t.parquet", "target": "y", "task": "classification", **values})


def same(first: Path, second: Path) -> bool:
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def files_of(kind: str, folder: Path) -> dict[str, Any]:
    frame = table()
    if kind == "test file":
        csv(folder, frame.iloc[1500:], "test.csv")
        return csv(folder, frame.iloc[:1500], test_file="test.csv")
    if kind == "split column":
        part = np.array(["train", "train", "val", "test"])[np.arange(N) % 4]
        return csv(folder, frame.assign(part=part), split_column="part")
    if kind == "regression":
        return csv(folder, frame.assign(y=np.round(frame["a"].fillna(0) + 10, 2)), task="regression")
    if kind == "rows":
        return csv(folder, frame, rows=100, drop=["b"])
    if kind == "packed, in another encoding":
        text = frame.replace({"red": "größer"}).to_csv(index=False, sep=";")
        return csv(folder, gzip.compress(text.encode("utf-16"), mtime=0), "t.csv.gz")
    if kind == "short rows, words for a missing value":
        lines = frame.assign(y=frame["y"], z="").to_csv(index=False, na_rep="?").splitlines()
        return csv(
            folder,
            "\n".join(row.removesuffix(",") if k > 1200 else row for k, row in enumerate(lines)),
            na_values=["?"],
        )
    if kind == "parquet":
        return parquet(folder, frame)
    if kind == "parquet of types, regression":
        typed = frame.assign(
            day=pd.to_datetime(frame["day"]), y=frame["b"].fillna(3).astype(int), member=frame["member"] == "yes"
        )
        return parquet(folder, typed, task="regression", drop=["b"], categorical=["id"], keep=["id"])
    return csv(folder, frame)


@pytest.mark.parametrize(
    "kind",
    [
        *("csv", "parquet", "parquet of types, regression", "regression", "test file", "split column", "rows"),
        *("packed, in another encoding", "short rows, words for a missing value"),
    ],
)
def test_a_table_in_pieces_is_the_table_at_once(tmp_path: Path, in_pieces: Callable[..., None], kind: str) -> None:
    config = files_of(kind, tmp_path / "raw")
    prepare(config, tmp_path / "at_once")
    in_pieces()
    prepare(config, tmp_path / "in_pieces")
    assert same(tmp_path / "at_once", tmp_path / "in_pieces")


def test_a_sample_says_what_columns_are_and_how_they_are_scaled(tmp_path: Path, in_pieces: Callable[..., None]) -> None:
    in_pieces(300)
    config = csv(tmp_path, table())
    meta = prepare(config, tmp_path / "out")
    assert meta.n_train == 1200
    (sentence,) = (each for each in meta.warnings if "piece by piece" in each)
    assert "300 of its 1,200 training rows" in sentence
    assert [line(meta, name)["kind"] for name in ("word", "id")] == ["category", "left out"]
    assert 0 < line(meta, "a")["missing"] < 60  # of the sample
    verify(tmp_path / "out")
    data, raw = load(tmp_path / "out"), table()
    x_test, y_test = load_test(tmp_path / "out")
    assert [len(data.x_train), len(data.x_val), len(x_test)] == [1200, 400, 400]
    every = transform(tmp_path / "out", raw)  # every row, at once
    rows = {tuple(row) for row in every}
    assert all(tuple(row) in rows for x in (data.x_train, data.x_val, x_test) for row in x)
    assert sorted(np.concatenate([data.y_train, data.y_val, y_test])) == sorted(raw["y"] == "right")
    prepare(config, tmp_path / "again")
    assert same(tmp_path / "out", tmp_path / "again")


def without(frame: pd.DataFrame, **cells: Any) -> pd.DataFrame:
    """The table with other cells in its row 1950."""
    return frame.assign(
        **{name: frame[name].astype(object).where(frame.index != 1950, cell) for name, cell in cells.items()}
    )


def test_what_no_sampled_row_has_counts_as_missing_and_is_said(tmp_path: Path, in_pieces: Callable[..., None]) -> None:
    in_pieces(300)
    frame = without(table(), a="far", day="some day", word="violet")
    meta = prepare(csv(tmp_path, frame, test_fraction=0.001, val_fraction=0.001), tmp_path / "out")
    for cell in ("'far' in data row 1951 of t.csv (train)", "'some day' in data row 1951 of t.csv (train)"):
        assert any(cell in sentence for sentence in meta.warnings)
    values = transform(tmp_path / "out", without(table(), a=None, day=None, word=None).iloc[[1950]])
    assert (load(tmp_path / "out").x_train == values).all(1).any()


@pytest.mark.parametrize("cell", ["inf", "1e300"])
def test_a_number_out_of_range_in_a_late_piece_is_refused(
    tmp_path: Path, in_pieces: Callable[..., None], cell: str
) -> None:
    in_pieces(300)
    with pytest.raises(UserError, match="data row 1951 of"):
        prepare(csv(tmp_path, without(table(), a=cell)), tmp_path / "out")


def test_many_cells_that_are_not_what_the_sample_says_are_refused(
    tmp_path: Path, in_pieces: Callable[..., None]
) -> None:
    in_pieces(300)
    frame = table().astype({"a": object})
    odd = frame.index[::16]  # more than may be missing, fewer than make it a column of words
    frame.loc[odd, "a"] = [f"far {row}" for row in odd]
    with pytest.raises(UserError, match="rows are not what the column is in the sampled training rows"):
        prepare(csv(tmp_path, frame, val_fraction=0.001, test_fraction=0.001), tmp_path / "out")


def rare(frame: pd.DataFrame, count: int, first: int = 1900) -> pd.DataFrame:
    """The table with a third class in so many late rows."""
    return frame.assign(y=frame["y"].where(~frame.index.isin(range(first, first + count)), "middle"))


def test_a_rare_class_of_a_late_piece_is_no_other(tmp_path: Path, in_pieces: Callable[..., None]) -> None:
    in_pieces(10)
    meta = prepare(csv(tmp_path, rare(table(), 5)), tmp_path / "out")
    assert list(meta.class_names) == ["left", "middle", "right"]
    data = load(tmp_path / "out")
    _, y_test = load_test(tmp_path / "out")
    assert np.bincount(np.concatenate([data.y_train, data.y_val, y_test]))[1] == 5


def test_a_class_in_one_row_or_in_test_rows_alone_is_refused(tmp_path: Path, in_pieces: Callable[..., None]) -> None:
    in_pieces()
    with pytest.raises(UserError, match="class 'middle' has 1 rows"):
        prepare(csv(tmp_path, rare(table(), 1)), tmp_path / "out")
    csv(tmp_path, rare(table(), 5), "test.csv")
    with pytest.raises(UserError, match=r"'middle' in data row 1901 of test\.csv, a label that no training row has"):
        prepare(csv(tmp_path, table(), test_file="test.csv"), tmp_path / "out")


@pytest.mark.parametrize(
    ("cell", "sentence"), [("far", "'far' is not a number"), ("", "no value in data row 1951"), ("1e40", "beyond")]
)
def test_a_wrong_target_of_a_late_piece_is_refused(
    tmp_path: Path, in_pieces: Callable[..., None], cell: str, sentence: str
) -> None:
    in_pieces()
    frame = table()
    frame = without(frame.assign(y=frame["b"].fillna(1)), y=cell)
    with pytest.raises(UserError, match=sentence):
        prepare(csv(tmp_path, frame, task="regression"), tmp_path / "out")


@pytest.mark.parametrize(
    ("mischief", "sentence"),
    [
        (lambda rows: [*rows[:1500], rows[0], *rows[1500:]], "data row 1500 is the header again"),
        (lambda rows: [*rows, "total,1,1,1,,,,left"], "looks like"),
        (lambda rows: [*rows[:1500], rows[1500] + ",1", *rows[1501:]], "is not a table"),
        (
            lambda rows: [
                *rows[:1500],
                rows[1500].replace("left", "l\udcfft").replace("right", "r\udcff"),
                *rows[1501:],
            ],
            "data.encoding",
        ),
    ],
)
def test_what_is_no_row_in_a_late_piece_is_refused(
    tmp_path: Path, in_pieces: Callable[..., None], mischief: Callable[[list[str]], list[str]], sentence: str
) -> None:
    in_pieces()
    rows = table().to_csv(index=False).splitlines()
    content = "\n".join(mischief(rows)).encode("utf-8", "surrogateescape")
    with pytest.raises(UserError, match=sentence):
        prepare(csv(tmp_path, content), tmp_path / "out")


def test_a_footer_of_a_large_table_is_refused(tmp_path: Path, in_pieces: Callable[..., None]) -> None:
    in_pieces()
    with pytest.raises(UserError, match=r"skip_footer: .* delete its last lines"):
        prepare(csv(tmp_path, table(), skip_footer=1), tmp_path / "out")
