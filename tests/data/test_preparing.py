"""Prepared data: what the files say, nothing from rows that training may not see, and bad input refused by name."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from src.data.dataset import load, load_test, raw_example, transform, verify
from src.data.preparing import prepare
from src.data.reader import parse
from src.system.checksums import FILE, write_checksums
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from tests.data.support import conf, csv
from tests.support.running import Place

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LOCKSTEP_DATA", "../shared/data")).resolve()
IDX_FILES = [f"{stem}-{kind}-ubyte.gz" for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def real(name: str, **values: Any) -> dict[str, Any]:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there: set LOCKSTEP_DATA to the folder that has {name}/")
    return conf(name, root=str(DATA / name), **values)


def without_origin(meta: DataMeta) -> dict[str, Any]:
    """A meta.json without what says from which files it was made."""
    return {key: value for key, value in meta.to_json().items() if key != "origin"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def frame(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """A small table for both tasks: y is a class, z a number."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.standard_normal(n).round(3),
            "word": rng.choice(["red", "green", "blue"], n),
            "b": rng.integers(0, 5, n),
            "y": np.where(np.arange(n) % 3 == 0, "yes", "no"),
            "z": rng.standard_normal(n),
        }
    )


def idx_folder(folder: Path, n_train: int = 30, n_test: int = 10) -> dict[str, Any]:
    """The config of four small IDX files, classes 0 and 1."""
    folder.mkdir(exist_ok=True)
    for stem, n in ("train", n_train), ("t10k", n_test):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 3, 2), np.uint8)
        images = b"".join(number.to_bytes(4, "big") for number in (0x803, n, 3, 2)) + pixels.tobytes()
        labels = b"".join(number.to_bytes(4, "big") for number in (0x801, n)) + bytes(i % 2 for i in range(n))
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return conf("fashion_mnist", root=str(folder), class_names=["even", "odd"], md5=None)


# The five data sets


def test_digits(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    meta = prepare(conf("digits"), tmp_path)
    verify(tmp_path)
    data, (x_test, y_test) = load(tmp_path), load_test(tmp_path)
    digits = load_digits()
    assert (meta.n_train, meta.n_val, meta.n_test) == (1077, 360, 360)
    assert meta.input_shape == (1, 8, 8)
    assert abs(data.x_train.mean()) < 1e-5
    assert abs(data.x_train.std() - 1) < 1e-5
    # one affine map of the pixels, which takes every image to exactly one part
    x, y = np.concatenate([data.x_train, data.x_val, x_test]), np.concatenate([data.y_train, data.y_val, y_test])
    pixels = np.rint((x - x.min()) / (x.max() - x.min()) * 16).reshape(-1, 64)
    assert sorted(map(tuple, np.c_[pixels, y])) == sorted(map(tuple, np.c_[digits.data, digits.target]))
    for part, rows in (data.y_val, 360), (y_test, 360):
        share = np.bincount(digits.target) * rows / 1797
        assert np.abs(np.bincount(part) - share).max() < 1


def test_fashion_mnist(tmp_path: Path) -> None:
    meta = prepare(real("fashion_mnist", rows=500), tmp_path)
    data, (x_test, y_test) = load(tmp_path), load_test(tmp_path)
    assert (meta.n_train, meta.n_val, meta.n_test) == (500, 12000, 10000)
    assert (meta.input_shape, meta.n_classes, meta.class_names[9]) == ((1, 28, 28), 10, "Ankle boot")
    assert np.bincount(data.y_val).tolist() == [1200] * 10
    labels = np.frombuffer(gzip.decompress((DATA / "fashion_mnist" / IDX_FILES[3]).read_bytes()), np.uint8, offset=8)
    assert np.array_equal(y_test, labels)
    images = np.frombuffer(gzip.decompress((DATA / "fashion_mnist" / IDX_FILES[2]).read_bytes()), np.uint8, offset=16)
    images = images.reshape(-1, 1, 28, 28)[:100]
    assert np.array_equal(transform(tmp_path, images), x_test[:100])
    assert abs(data.x_train.mean()) < 1e-4
    assert abs(data.x_train.std() - 1) < 1e-4


@pytest.mark.slow
def test_fashion_mnist_fits_into_memory(tmp_path: Path) -> None:
    code = """
        import json, resource, sys
        from pathlib import Path
        from src.data.preparing import prepare
        prepare(json.loads(sys.argv[1]), Path(sys.argv[2]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    args = [sys.executable, "-c", textwrap.dedent(code), json.dumps(real("fashion_mnist")), str(tmp_path / "out")]
    peak_kib = int(subprocess.run(args, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    assert peak_kib < 1.5 * 2**20


def test_adult(tmp_path: Path) -> None:
    meta = prepare(real("adult"), tmp_path)
    data, (x_test, y_test) = load(tmp_path), load_test(tmp_path)
    assert (meta.n_train, meta.n_val, meta.n_test) == (26048, 6513, 16281)
    assert meta.class_names == ["<=50K", ">50K"]
    # numbers of values as adult.names lists them, and the index for a missing one
    assert meta.categories == [n + 1 for n in (8, 16, 7, 14, 6, 5, 2, 41)]
    positive = [int(part.sum()) for part in (data.y_train, data.y_val, y_test)]
    assert positive[0] + positive[1] == 7841  # as in UCI's description: 24.08 % and 23.62 %
    assert positive[2] == 3846
    assert positive[1] == round(7841 * 6513 / 32561)
    raw = pd.read_csv(DATA / "adult/adult.test", na_values="?", skipinitialspace=True)
    assert np.array_equal(x_test[:, 6] == 0, raw["workclass"].isna())
    assert np.array_equal(transform(tmp_path, raw), x_test)


def test_adult_as_uci_publishes_it(tmp_path: Path) -> None:
    """No header, blanks after commas, a first line that is none, an empty last line."""
    config = real("adult")
    for name, first in ("adult.data", ""), ("adult.test", "|1x3 Cross validator\n"):
        lines = (DATA / "adult" / name).read_text().splitlines()[1:2001]
        (tmp_path / name).write_text(first + "\n".join(line.replace(",", ", ") for line in lines) + "\n\n")
    with_header = tmp_path / "header"
    with_header.mkdir()
    for name in ("adult.data", "adult.test"):
        lines = (DATA / "adult" / name).read_text().splitlines()[:2001]
        (with_header / name).write_text("\n".join(lines))
    metas = [prepare({**config, "root": str(root)}, tmp_path / f"{root.name}-out") for root in (tmp_path, with_header)]
    assert without_origin(metas[0]) == without_origin(metas[1])
    assert metas[0].n_test == 2000


def test_california_housing(tmp_path: Path) -> None:
    from scipy.stats import kstest

    meta = prepare(real("california_housing"), tmp_path)
    data, (x_test, y_test) = load(tmp_path), load_test(tmp_path)
    assert (meta.n_train, meta.n_val, meta.n_test) == (13209, 3303, 4128)
    assert (meta.task, meta.n_classes, meta.categories) == ("regression", 0, [6])
    raw = pd.read_csv(DATA / "california_housing/housing.csv")
    y = np.concatenate([part * meta.target_std + meta.target_mean for part in (data.y_train, data.y_val)])
    assert np.allclose(np.sort(np.r_[y, y_test]), np.sort(raw["median_house_value"] / 1e5), atol=1e-5)
    assert abs(data.y_train.mean()) < 1e-5
    assert abs(data.y_train.std() - 1) < 1e-5
    income = data.x_train[:, 7]
    assert kstest(income, "norm").statistic < 0.02
    assert kstest(x_test[:, 7], "norm").statistic < 0.04
    assert all(2 <= len(edges) <= 257 for kind in ("quantile", "tree") for edges in meta.edges[kind])


def test_uci_protein_keeps_its_splits(tmp_path: Path) -> None:
    raw = np.loadtxt(real("uci_protein")["root"] + "/data.txt")
    tests = []
    for split in (0, 4):
        meta = prepare(real("uci_protein", split=split, rows=1000), tmp_path / str(split))
        index = np.loadtxt(DATA / f"uci_protein/index_test_{split}.txt").astype(int)
        y_test = load_test(tmp_path / str(split))[1]
        assert np.array_equal(y_test, raw[index, 9].astype(np.float32))
        assert (meta.n_train, meta.n_val, meta.n_test) == (1000, 8232, 4573)
        tests.append(set(index))
    assert len(tests[0] & tests[1]) < 4573


# What makes it right


def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    config = csv(tmp_path, frame())
    prepare(config, tmp_path / "here")
    code = """
import json, pathlib, sys
from src.data.preparing import prepare
prepare(json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""
    args = [sys.executable, "-c", code, json.dumps(config), str(tmp_path / "there")]
    subprocess.run(args, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    prepare(config, tmp_path / "here")
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


@pytest.mark.parametrize("scaling", ["quantile", "standard", "robust"])
def test_training_rows_alone_are_fitted(tmp_path: Path, scaling: str) -> None:
    table = frame().assign(part=["train"] * 40 + ["valid"] * 10 + ["test"] * 10)
    changed = table.assign(
        a=table["a"].where(table.index < 40, 1e6),
        word=table["word"].where(table.index < 40, "violet"),
        z=table["z"].where(table.index < 40, -1e6),
    )
    for target, task in ("y", "classification"), ("z", "regression"):
        values = {"split_column": "part", "target": target, "task": task, "scaling": scaling}
        one = prepare(csv(tmp_path / "1", table, **values), tmp_path / "one")
        two = prepare(csv(tmp_path / "2", changed, **values), tmp_path / "two")
        for name in ("x_train.npy", "y_train.npy", "preprocessing.skops", "example.json"):
            assert contents(tmp_path / "one")[name] == contents(tmp_path / "two")[name]
        assert (one.edges, one.target_mean) == (two.edges, two.target_mean)
        assert one.sha256 != two.sha256
        word = 3 if target == "y" else 2  # after the numeric columns a, b and, if it is no target, z
        assert (load(tmp_path / "two").x_val[:, word] == 0).all()


def test_unseen_and_missing_categories_are_zero(tmp_path: Path) -> None:
    meta = prepare(csv(tmp_path, frame(), drop=["z"]), tmp_path / "out")
    assert meta.columns == [
        {"name": "a", "dtype": "double"},
        {"name": "word", "dtype": "string"},
        {"name": "b", "dtype": "double"},
    ]
    assert meta.categories == [4]
    raw = pd.DataFrame({"b": 1, "word": ["violet", None, np.nan, "", "blue", " green", "red"], "a": 0.5, "more": 9})
    assert transform(tmp_path / "out", raw)[:, 2].tolist() == [0, 0, 0, 0, 1, 2, 3]


def test_numbers_can_be_categories(tmp_path: Path) -> None:
    meta = prepare(csv(tmp_path, frame(), drop=["z"], categorical=["b"]), tmp_path / "out")
    assert meta.categories == [4, 6]
    raw = pd.DataFrame({"a": 0.5, "word": "red", "b": [0, 4, 7]})
    assert transform(tmp_path / "out", raw)[:, 2].tolist() == [1, 5, 0]
    raw["b"] = [0.0, 4.0, np.nan]  # what pandas makes of codes beside a missing one
    assert transform(tmp_path / "out", raw)[:, 2].tolist() == [1, 5, 0]


def test_codes_beside_a_missing_one_are_the_same_in_a_file_and_in_memory(tmp_path: Path) -> None:
    table = frame().assign(b=[np.nan if k % 7 == 3 else float(k % 3) for k in range(60)])  # written as 0.0, 1.0, 2.0
    prepare(csv(tmp_path, table, drop=["z"], categorical=["b"]), tmp_path / "out")
    again = pd.read_csv(tmp_path / "t.csv")
    assert transform(tmp_path / "out", again)[:, 2].tolist() == [0 if k % 7 == 3 else 1 + k % 3 for k in range(60)]


def test_missing_numbers_are_the_median_of_training(tmp_path: Path) -> None:
    table = frame().assign(part=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    table.loc[[3, 50], "a"] = np.nan
    prepare(csv(tmp_path, table, split_column="part", scaling="standard"), tmp_path / "out")
    a = table["a"][:40].fillna(table["a"][:40].median())
    expected = (a - a.mean()) / a.std(ddof=0)
    assert np.allclose(load(tmp_path / "out").x_train[:, 0], expected, atol=1e-6)
    assert np.isclose(load_test(tmp_path / "out")[0][0, 0], (table["a"][:40].median() - a.mean()) / a.std(ddof=0))


def test_mostly_zero_column_stays_in_scale(tmp_path: Path) -> None:
    """A plain quantile transformer sends the smallest value to -5.2, here nine rows of ten."""
    table = frame(300)
    table["a"] = np.where(np.arange(300) % 10 == 0, table["b"] * 1000 + 1, 0)
    prepare(csv(tmp_path, table), tmp_path / "out")
    a = load(tmp_path / "out").x_train[:, 0]
    values, counts = np.unique(a, return_counts=True)
    assert -1 < values[counts.argmax()] < 0


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_quantiles_do_not_depend_on_units(tmp_path: Path, scale: float) -> None:
    table = frame(200)
    a = []
    for factor in (1.0, scale):
        prepare(csv(tmp_path, table.assign(a=table["a"] * factor)), tmp_path / "out")
        a.append(np.array(load(tmp_path / "out").x_train[:, 0]))
    assert np.allclose(a[0], a[1], atol=1e-3)


def test_robust_scaling_is_that_of_realmlp(tmp_path: Path) -> None:
    """Median 0, quartiles 1 apart (half the range 1 where these agree), then x / √(1 + (x/3)²); read back from a file."""
    draw = np.random.default_rng(0)
    table = frame(400).assign(a=1000 + 50 * draw.standard_t(2, 400), b=np.where(draw.random(400) < 0.9, 0.0, 40.0))
    prepare(csv(tmp_path, table, drop=["word"], scaling="robust"), tmp_path / "out")
    x = load(tmp_path / "out").x_train.astype(np.float64)
    assert np.abs(x).max() < 3
    before = x / np.sqrt(1 - (x / 3) ** 2)
    quartiles = np.quantile(before[:, 0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose([quartiles[1], quartiles[2] - quartiles[0]], [0, 1], atol=1e-4)
    assert set(np.round(np.unique(before[:, 1]), 3)) == {0.0, 2.0}
    np.testing.assert_array_equal(
        transform(tmp_path / "out", raw_example(tmp_path / "out")), load(tmp_path / "out").x_train[:5]
    )


def test_constant_and_empty_columns_do_no_harm(tmp_path: Path) -> None:
    table = frame().assign(constant=3, empty=np.nan).rename(columns={"b": "self"})
    meta = prepare(csv(tmp_path, table), tmp_path / "out")
    x = load(tmp_path / "out").x_train
    assert np.isfinite(x).all()
    columns = [edges for kind in ("quantile", "tree") for edges in meta.edges[kind]]
    assert all(len(set(edges)) == len(edges) >= 2 for edges in columns)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_transform_gives_the_stored_rows(tmp_path: Path, task: str) -> None:
    table = frame(80)
    test = frame(30, seed=1)
    test.loc[[2, 5], ["a", "word"]] = np.nan
    csv(tmp_path, test, "test.csv")
    config = csv(tmp_path, table, test_file="test.csv", target="y" if task == "classification" else "z", task=task)
    prepare(config, tmp_path / "out")
    x_test, y_test = load_test(tmp_path / "out")
    raw = pd.read_csv(tmp_path / "test.csv")
    assert np.array_equal(transform(tmp_path / "out", raw), x_test)
    assert np.array_equal(transform(tmp_path / "out", raw[7:8]), x_test[7:8])
    assert transform(tmp_path / "out", raw).dtype == np.float32
    assert y_test.dtype == (np.int64 if task == "classification" else np.float32)
    if task == "regression":
        assert np.array_equal(y_test, test["z"].astype(np.float32))


@pytest.mark.parametrize("kind", ["table", "images"])
def test_raw_example_is_what_a_served_model_gets(tmp_path: Path, kind: str) -> None:
    table = frame()
    table.loc[0, ["a", "word"]] = np.nan
    prepare(csv(tmp_path, table, seed=3) if kind == "table" else idx_folder(tmp_path), tmp_path / "out")
    raw = raw_example(tmp_path / "out")
    assert np.array_equal(transform(tmp_path / "out", raw), load(tmp_path / "out").x_train[:5])
    payload = json.loads((tmp_path / "out/example.json").read_text())
    assert list(payload) == ["dataframe_split" if kind == "table" else "inputs"]


def test_rows_keeps_some_training_rows(tmp_path: Path) -> None:
    config = csv(tmp_path, frame(200))
    for rows in (None, 40, 20):
        prepare({**config, "rows": rows}, tmp_path / f"{rows}")
    y = {rows: load_test(tmp_path / f"{rows}")[1] for rows in (None, 40, 20)}
    assert np.array_equal(y[None], y[40])
    assert [load(tmp_path / f"{rows}").meta.n_train for rows in (None, 40, 20)] == [120, 40, 20]
    assert load(tmp_path / "40").meta.n_val == 40


def test_seed_moves_the_split(tmp_path: Path) -> None:
    config = csv(tmp_path, frame(200))
    folders = [tmp_path / "0", tmp_path / "1"]
    for seed, folder in enumerate(folders):
        prepare({**config, "seed": seed}, folder)
    assert not np.array_equal(load_test(folders[0])[0], load_test(folders[1])[0])


def test_numeric_labels_are_in_numeric_order(tmp_path: Path) -> None:
    meta = prepare(csv(tmp_path, frame().assign(y=np.arange(60) % 3 * 5)), tmp_path / "out")
    assert meta.class_names == ["0", "5", "10"]
    some = frame().assign(y=[("1", "10", "3+", "2")[k % 4] for k in range(60)])
    assert prepare(csv(tmp_path, some), tmp_path / "some").class_names == ["1", "10", "2", "3+"]


def test_arrays_are_memory_mapped(tmp_path: Path) -> None:
    prepare(csv(tmp_path, frame()), tmp_path / "out")
    data = load(tmp_path / "out")
    assert all(isinstance(array, np.memmap) for array in (data.x_train, data.y_train, data.x_val, data.y_val))


def test_separators_encodings_and_compression(tmp_path: Path) -> None:
    table = frame().replace({"word": {"red": "röt"}})
    expected = without_origin(prepare(csv(tmp_path, table), tmp_path / "out"))
    for content, name, values in (
        (table.to_csv(index=False, sep=";"), "t.csv", {"separator": ";"}),
        (table.to_csv(index=False).encode("latin-1"), "t.csv", {"encoding": "latin-1"}),
        (table.to_csv(index=False).encode("utf-8-sig"), "t.csv", {}),
        (gzip.compress(table.to_csv(index=False).encode()), "t.csv.gz", {}),
    ):
        assert without_origin(prepare(csv(tmp_path, content, name, **values), tmp_path / "out")) == expected


def test_checking_a_config_needs_no_heavy_import() -> None:
    code = """
        import json, sys
        from src.data.reader import parse
        parse(json.loads(sys.argv[1]))
        print([name for name in ("pandas", "sklearn", "torch", "skops") if name in sys.modules])
    """
    args = [sys.executable, "-c", textwrap.dedent(code), json.dumps(conf("adult"))]
    assert subprocess.run(args, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "[]"


def test_pointers_name_the_official_files(tmp_path: Path) -> None:
    pointers = {path.stem: path for path in (ROOT / "data/import/fashion_mnist").glob("*.dvc")}
    md5 = conf("fashion_mnist")["md5"]
    assert set(pointers) == set(md5) == set(IDX_FILES)
    for name, path in pointers.items():
        (source,) = yaml.safe_load(path.read_text())["deps"]
        assert source["path"] == f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}"
        assert source["md5"] == md5[name]
        shutil.copy(path, tmp_path)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    listed = subprocess.run([*dvc, "list", ".", "--dvc-only"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert listed.stdout.split() == sorted(IDX_FILES)


# What is refused


def refused(config: dict[str, Any], folder: Path, *words: str) -> None:
    """One sentence that has all of `words`, before anything is written."""
    with pytest.raises(UserError) as caught:
        prepare(config, folder / "out")
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    for word in words:
        assert word in message
    assert not (folder / "out").exists()


TEXT = frame().to_csv(index=False)
LINES = TEXT.splitlines(keepends=True)


def cell(row: int, column: int, value: str) -> str:
    """TEXT with one cell changed; rows count from 1, after the header."""
    cells = LINES[row].rstrip("\n").split(",")
    cells[column] = value
    return "".join([*LINES[:row], ",".join(cells) + "\n", *LINES[row + 1 :]])


REGRESSION = {"target": "z", "task": "regression"}


@pytest.mark.parametrize(
    ("content", "values", "words"),
    [
        pytest.param("", {}, ["t.csv is empty"], id="empty file"),
        pytest.param("\n \n", {}, ["t.csv"], id="blank file"),
        pytest.param(LINES[0], {}, ["header but no rows"], id="header only"),
        pytest.param(frame().assign(y="yes"), {}, ["one class only", "'yes'"], id="one class"),
        pytest.param(cell(4, 3, "maybe"), {}, ["class 'maybe' has 1 rows", "fewer than 3"], id="rare class"),
        pytest.param(cell(7, 3, ""), {}, ["target 'y'", "data row 7 of t.csv"], id="missing label"),
        pytest.param(cell(9, 4, "NaN"), REGRESSION, ["target 'z'", "data row 9 of t.csv"], id="NaN target"),
        pytest.param(cell(9, 4, "high"), REGRESSION, ["'z'", "data row 9", "'high' is not a number"], id="text target"),
        pytest.param(TEXT, {"task": "regression"}, ["'y'", "data row 1", "is not a number"], id="text as regression"),
        pytest.param(cell(9, 4, "inf"), REGRESSION, ["'z'", "data row 9", "infinite"], id="infinite target"),
        pytest.param(frame().assign(z=1), REGRESSION, ["target is 1 in every"], id="constant target"),
        pytest.param(cell(5, 0, "-inf"), {}, ["'a'", "data row 5", "infinite"], id="infinite value"),
        pytest.param("a,b,a,y\n1,2,3,yes\n", {}, ["'a' more than once"], id="duplicate column"),
        pytest.param(",a,y\n5,1,yes\n3,1,no\n", {}, ["column 1 has no name"], id="nameless column"),
        pytest.param("y\nyes\nno\n", {}, ["only column"], id="target alone"),
        pytest.param(LINES[0] + "1,red,2,yes,0.5,9\n", {}, ["t.csv", "Expected 5 fields", "saw 6"], id="long row"),
        pytest.param("a,y\nä,1\n".encode("latin-1"), {}, ["not utf-8", "data.encoding"], id="wrong encoding"),
        pytest.param(TEXT, {"encoding": "utf-88"}, ["data.encoding='utf-88'"], id="unknown encoding"),
        pytest.param(TEXT, {"target": "Y"}, ["data.target", "'Y'", "there are a, word"], id="no such target"),
        pytest.param(TEXT, {"target": "wrod"}, ["did you mean word?"], id="nearest target"),
        pytest.param(TEXT, {"drop": ["wodr"]}, ["data.drop", "did you mean word?"], id="nearest drop"),
        pytest.param(TEXT, {"categorical": ["bb"]}, ["data.categorical", "'bb'"], id="nearest categorical"),
        pytest.param(TEXT, {"separator": ";"}, ["data.separator", "one column only"], id="wrong separator"),
        pytest.param(TEXT, {"split_column": "word"}, ["'word'", "data row 1", "train, val or test"], id="no parts"),
        pytest.param(TEXT, {"columns": ["a", "y"]}, ["data.columns names 2", "has 5"], id="wrong column names"),
        pytest.param(TEXT, {"test_fraction": None}, ["data.test_fraction must be given"], id="no test rows"),
        pytest.param(TEXT, {"rows": 37}, ["data.rows=37", "only 36"], id="more rows than there are"),
        pytest.param(TEXT, {"rows": 1}, ["no train row of class", "data.rows"], id="rows lose a class"),
        pytest.param("".join(LINES[:4]), {}, ["data.test_fraction gives 1 rows", "2 classes"], id="three rows"),
        pytest.param(
            frame().assign(y=["rare" if k < 3 else "often" for k in range(60)]),
            {"test_fraction": 0.6},
            ["data.val_fraction: 12 rows cannot be drawn", "least populated class"],
            id="a class used up by the test rows",
        ),
        pytest.param("".join(LINES[:3]), REGRESSION, ["2 rows are too few"], id="two rows"),
        pytest.param(TEXT, {"val_fraction": 0.01}, ["data.val_fraction gives 1 rows"], id="fewer rows than classes"),
        pytest.param(TEXT, {"val_fraction": 1.0}, ["data.val_fraction=1.0", "less than 1"], id="fraction of one"),
        pytest.param(TEXT, {"test_fraction": -0.1}, ["data.test_fraction=-0.1"], id="negative fraction"),
        pytest.param(TEXT, {"test_fraction": 0.9}, ["add up to 1 or more"], id="fractions above one"),
        pytest.param(TEXT, {"seed": "one"}, ["data.seed='one'"], id="wrong type"),
        pytest.param(TEXT, {"task": "clasification"}, ["data.task='clasification'", "'regression'"], id="wrong task"),
        pytest.param(TEXT, {"targets": "y"}, ["data.targets", "did you mean data.target?"], id="unknown key"),
        pytest.param(TEXT, {"reader": "cvs"}, ["data.reader: 'cvs'", "did you mean csv?"], id="unknown reader"),
        pytest.param(TEXT, {"file": "???"}, ["data.file must be given", "data.file="], id="file not given"),
    ],
)
def test_bad_table(tmp_path: Path, content: Any, values: dict[str, Any], words: list[str]) -> None:
    refused(csv(tmp_path, content, **values), tmp_path, *words)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        pytest.param(frame().drop(columns="b"), ["test.csv lacks the column 'b'"], id="column missing"),
        pytest.param(frame().assign(c=1), ["t.csv lacks the column 'c'"], id="column more"),
        pytest.param(cell(6, 3, "yes!"), ["'yes!' in data row 6 of test.csv", "did you mean yes?"], id="new label"),
        pytest.param(
            frame().assign(a="old"), ["'a': 'old' in data row 1 of test.csv and 59 more"], id="words for numbers"
        ),
        pytest.param(cell(6, 2, "inf"), ["'b', data row 6 of test.csv", "infinite"], id="infinite"),
    ],
)
def test_bad_test_file(tmp_path: Path, test: Any, words: list[str]) -> None:
    csv(tmp_path, test, "test.csv")
    refused(csv(tmp_path, frame(), test_file="test.csv"), tmp_path, *words)


def test_name_that_leaves_its_folder(tmp_path: Path) -> None:
    for name in ("../x", "..", ""):
        refused({**csv(tmp_path, frame()), "name": name}, tmp_path, f"data.name={name!r}")


def test_truncated_gzip_table(tmp_path: Path) -> None:
    config = csv(tmp_path, gzip.compress(TEXT.encode())[:-40], "t.csv.gz")
    refused(config, tmp_path, "t.csv.gz", "not a whole gzip file")


def test_missing_file_says_where_and_how(tmp_path: Path) -> None:
    refused(conf("adult", root=str(tmp_path)), tmp_path, str(tmp_path / "adult.data"), "uci.edu", "LOCKSTEP_DATA")
    shutil.copytree(ROOT / "data/import/fashion_mnist", tmp_path / "f", ignore=shutil.ignore_patterns("*.gz"))
    refused(conf("fashion_mnist", root=str(tmp_path / "f")), tmp_path, "`dvc --cd ", f" update {IDX_FILES[0]}.dvc`")


def edit(position: int, value: bytes) -> Callable[[bytes], bytes]:
    def change(packed: bytes) -> bytes:
        content = bytearray(gzip.decompress(packed))
        content[position : position + len(value)] = value
        return gzip.compress(bytes(content))

    return change


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        pytest.param(0, lambda packed: packed[:-20], ["not a whole gzip file"], id="truncated gzip"),
        pytest.param(0, lambda packed: b"<html>moved</html>", ["not a whole gzip file"], id="no gzip"),
        pytest.param(0, edit(3, b"\x01"), ["magic number 2049", "2051"], id="labels as images"),
        pytest.param(1, edit(2, b"\x0d"), ["magic number 3329", "2049"], id="floats"),
        pytest.param(2, edit(4, b"\xee\x6b\x28\x00"), ["announces 24000000000 bytes", "has 60"], id="4e9 images"),
        pytest.param(2, edit(7, b"\x0b"), ["announces 66 bytes", "has 60"], id="too short"),
        pytest.param(3, edit(8 + 4, b"\x02"), ["t10k label 5 is 2", "classes 0 to 1"], id="label out of range"),
        pytest.param(1, lambda packed: gzip.compress(b""), ["magic number 0"], id="empty"),
    ],
)
def test_bad_idx(tmp_path: Path, file: int, change: Callable[[bytes], bytes], words: list[str]) -> None:
    config = idx_folder(tmp_path / "idx")
    path = tmp_path / "idx" / IDX_FILES[file]
    path.write_bytes(change(path.read_bytes()))
    refused(config, tmp_path, *words, *([] if "label" in words[0] else [IDX_FILES[file]]))


def test_idx_pairs_and_checksums(tmp_path: Path) -> None:
    config = idx_folder(tmp_path / "idx")
    prepare(config, tmp_path / "good")
    refused({**config, "md5": dict.fromkeys(IDX_FILES, "0" * 32)}, tmp_path, IDX_FILES[0], "md5", "data.md5=null")
    idx_folder(tmp_path / "other", n_train=31)
    shutil.copy(tmp_path / "other" / IDX_FILES[1], tmp_path / "idx")
    refused(config, tmp_path, "train: 30 images, but 31 labels")


def test_splits_that_overlap(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "data.txt", np.random.default_rng(0).standard_normal((20, 3)))
    for name, values in ("features", [0, 1]), ("target", [2]), ("train_0", range(15)), ("test_0", range(14, 20)):
        np.savetxt(tmp_path / f"index_{name}.txt", list(values))
    config = conf("uci_protein", root=str(tmp_path))
    refused(config, tmp_path, "row 14 is both")
    np.savetxt(tmp_path / "index_test_0.txt", [15, 20])
    refused(config, tmp_path, "index_test_0.txt", "0 to 19")
    refused({**config, "split": 5}, tmp_path, "index_train_5.txt is not there")
    np.savetxt(tmp_path / "index_test_0.txt", [15, 19])
    lines = (tmp_path / "data.txt").read_text().splitlines()
    (tmp_path / "data.txt").write_text("\n".join([lines[0], "1 x 2", *lines[2:]]))
    refused(config, tmp_path, "column 'f1', data row 2 of data.txt: 'x' is not a number")
    (tmp_path / "index_test_0.txt").write_text("15 last")
    refused(config, tmp_path, "index_test_0.txt", "numbers from 0 to 19")


def test_a_flipped_byte_of_any_prepared_file_is_refused_before_it_is_used(tmp_path: Path) -> None:
    """By `verify`, with which every stage that reads prepared data begins."""
    folder = tmp_path / "out"
    prepare(csv(tmp_path, frame()), folder)
    verify(folder)
    for path in sorted(path for path in folder.iterdir() if path.name != FILE):
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 2):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(UserError, match="run prepare again"):
                verify(folder)
        path.unlink()
        with pytest.raises(UserError, match=f"{folder} lacks some of its files: run prepare again"):
            verify(folder)
        path.write_bytes(content)
    verify(folder)


def test_prepared_folder_that_changed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(csv(tmp_path, frame()), out)
    verify(out)
    x = np.load(out / "x_test.npy")
    x[0, 0] += 1
    np.save(out / "x_test.npy", x)
    load(out)
    with pytest.raises(UserError, match=r"not those of its meta\.json"):
        verify(out)
    (out / "x_train.npy").write_bytes((out / "x_train.npy").read_bytes()[:200])
    with pytest.raises(UserError, match=r"x_train\.npy is missing or not whole"):
        load(out)
    (out / "meta.json").write_text('{"name": ')
    with pytest.raises(UserError, match="has changed since it was written"):
        load(out)
    (out / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="not whole"):
        load(out)
    with pytest.raises(UserError, match="holds no prepared data"):
        load(tmp_path / "nowhere")


def test_transform_refuses_other_columns_and_shapes(tmp_path: Path) -> None:
    prepare(csv(tmp_path, frame(), drop=["z"]), tmp_path / "table")
    with pytest.raises(UserError, match="the column 'word' is missing; did you mean wordy"):
        transform(tmp_path / "table", frame().rename(columns={"word": "wordy"}))
    with pytest.raises(UserError, match="column 'a', row 2: 'x' is not a number"):
        transform(tmp_path / "table", pd.DataFrame({"a": [1, "x"], "word": "red", "b": 0}))
    prepare(idx_folder(tmp_path / "idx"), tmp_path / "images")
    with pytest.raises(UserError, match="shape"):
        transform(tmp_path / "images", np.zeros((2, 3, 2)))


class Evil:
    """Stands for any type that a file could ask to be built."""


def test_untrusted_preprocessing_is_refused(tmp_path: Path) -> None:
    import skops.io

    prepare(csv(tmp_path, frame()), tmp_path / "out")
    skops.io.dump(Evil(), tmp_path / "out/preprocessing.skops")
    write_checksums(tmp_path / "out")  # as who means it would
    with pytest.raises(UserError, match="not trusted"):
        transform(tmp_path / "out", frame())
    (tmp_path / "out/preprocessing.skops").write_bytes(b"PK torn")
    write_checksums(tmp_path / "out")
    with pytest.raises(UserError, match="not a whole skops file"):
        transform(tmp_path / "out", frame())


# Two at once, and readers


def test_two_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    """Whichever is second waits for nobody: it is refused in one sentence, or comes after the first."""
    code = """
        import json, pathlib, sys
        from src.data.preparing import prepare
        from src.system.errors import UserError
        try:
            prepare(json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]))
        except UserError as error:
            print(error)
    """
    config = csv(tmp_path, frame(20000))
    words = [sys.executable, "-c", textwrap.dedent(code), json.dumps(config), str(tmp_path / "out")]
    running = [subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert "" in answers
    assert all(not answer or "prepare of csv is running already" in answer for answer in answers)
    assert len(contents(tmp_path / "out")) == 10
    verify(tmp_path / "out")


@pytest.mark.parametrize("target", [{}, REGRESSION])
def test_parquet_is_read_as_the_same_csv(tmp_path: Path, target: dict[str, Any]) -> None:
    table = frame(90)
    table.loc[[4, 70], ["a", "word"]] = None
    expected = prepare(csv(tmp_path, table, **target), tmp_path / "csv")
    table.to_parquet(tmp_path / "t.parquet")
    values = {"root": str(tmp_path), "file": "t.parquet", "target": "y", "task": "classification", **target}
    meta = prepare(conf("parquet", **values), tmp_path / "parquet")
    assert meta.sha256 == expected.sha256
    assert meta.columns == expected.columns
    assert np.array_equal(transform(tmp_path / "parquet", table[:5]), transform(tmp_path / "csv", table[:5]))


def test_bad_parquet(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "t.parquet")
    values = {"root": str(tmp_path), "file": "t.parquet", "target": "yy", "task": "classification"}
    refused(conf("parquet", **values), tmp_path, "data.target names 'yy'", "did you mean y?")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[:-30])
    refused(conf("parquet", **values), tmp_path, "t.parquet is not a whole Parquet file")


def test_each_reader_is_one_file_with_the_class_of_its_name() -> None:
    for name in ("csv", "parquet", "digits", "idx", "splits", "images"):
        option = {"idx": "fashion_mnist", "splits": "uci_protein"}.get(name, name)
        given = {key: "x" for key, value in conf(option).items() if value == "???"} | {"task": "regression"}
        reader = parse(conf(option, **(given if name in ("csv", "parquet") else {})))
        assert type(reader).__module__ == f"src.data.readers.{name}"
        assert type(reader).__name__.lower() == name


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["lr_range", "sweep", "train", "ensemble", "report"])
def test_every_stage_refuses_arrays_that_changed(tmp_path: Path, prepared: Path, verb: str) -> None:
    shutil.copytree(prepared, tmp_path / "data" / "prepared")
    y_val = np.load(prepared / "digits" / "y_val.npy")
    y_val[0] = (y_val[0] + 1) % 10
    np.save(tmp_path / "data" / "prepared" / "digits" / "y_val.npy", y_val)
    answer = Place(tmp_path).run(verb=verb, ok=False)
    assert (
        answer.stderr == "error: the arrays in data/prepared/digits are not those of its meta.json: run prepare again\n"
    )
