"""A bundle of which something has changed is refused in one sentence, or answers as before."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from src.data.dataset import raw_example, read_meta
from src.data.preparing import prepare
from src.models.building import build
from src.serving.bundle import write_bundle
from src.serving.pyfunc import Ensemble
from src.system.errors import UserError
from src.tracking.bad_rows import BadRows
from tests.data.support import csv
from tests.support.training import config

LINEAR = config("linear")
VALUES: list[Any] = [None, "x", -1, 0, 1e999, True, [], {}, {"_target_": "subprocess.Popen"}, "../../x", [[None]]]
HARMLESS = {"n_train", "n_val", "n_test", "sha256", "source", "profile", "warnings", "origin", "name", "seed"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of two linear models of a table with a word, and the data that it is of."""
    folder = tmp_path_factory.mktemp("bundle")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=90), "w": rng.choice(["red", "green"], 90), "y": ["u", "v", "w"] * 30})
    prepare(csv(folder, table), folder / "prepared")
    torch.manual_seed(0)
    meta = read_meta(folder / "prepared")
    members = [(LINEAR, build(LINEAR.model, meta).state_dict()) for _ in range(2)]
    write_bundle(folder / "bundle", meta, members, folder / "prepared")
    return folder / "bundle", folder / "prepared"


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if key not in HARMLESS:
            yield content, key
            if isinstance(value, dict | list):
                yield from places(value)


def change(draw: random.Random, path: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".json" and draw.random() < 0.8:
        content = json.loads(data)
        node, key = draw.choice(list(places(content)))
        if draw.random() < 0.2:
            del node[key]
        else:
            node[key] = draw.choice(VALUES)
        path.write_text(json.dumps(content), encoding="utf-8")
        return
    at = draw.randrange(len(data))
    path.write_bytes(
        draw.choice([data[:at], data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :], b"[]"])
    )


def test_changed_bundles_answer_as_before_or_are_refused(tmp_path: Path, bundle: tuple[Path, Path]) -> None:
    rows = raw_example(bundle[1])
    expected = Ensemble(bundle[0]).predict(rows)
    names = ["bundle.json", "meta.json", "preprocessing.skops", "member-0.safetensors", "joint.safetensors"]
    sentences = []
    for seed in range(120):
        draw, folder = random.Random(seed), tmp_path / str(seed)
        shutil.copytree(bundle[0], folder)
        change(draw, folder / draw.choice(names))
        if checked := seed % 2 == 0:
            assert (folder / "SHA256SUMS").exists()
        else:  # as a stranger may send it, or an earlier version wrote it
            (folder / "SHA256SUMS").unlink()
        try:
            answer = Ensemble(folder).predict(rows)
        except UserError as error:
            sentences.append(str(error))
            continue
        probabilities = [name for name in expected if name.startswith("p_")]
        assert answer.shape == expected.shape, seed
        assert not checked or np.allclose(answer.iloc[:, 1:], expected[probabilities]), seed
    assert len(sentences) > 60
    assert not [sentence for sentence in sentences if "\n" in sentence]


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"a": [1.0, {}], "w": ["red", "red"]}),
        pd.DataFrame({"a": [1.0, 2.0], "w": ["red", ["green"]]}),
        {"a": [[1], [2]], "w": ["red", "red"]},
        {"a": [1.0, 2.0], "w": ["red"]},
        {"b": [1.0]},
        3,
        "rows",
    ],
)
def test_rows_that_are_no_table_are_one_sentence(bundle: tuple[Path, Path], rows: Any) -> None:
    with pytest.raises(BadRows) as caught:
        Ensemble(bundle[0]).predict(rows)
    assert "\n" not in caught.value.message


def test_columns_of_a_request_are_rows_too(bundle: tuple[Path, Path]) -> None:
    rows = raw_example(bundle[1])
    expected = Ensemble(bundle[0]).predict(rows)
    assert expected.equals(Ensemble(bundle[0]).predict({name: list(cells) for name, cells in rows.items()}))
    with pytest.raises(ValueError, match="names of columns"):
        Ensemble(bundle[0]).predict(rows.set_axis([(1,), "w"], axis="columns"))
