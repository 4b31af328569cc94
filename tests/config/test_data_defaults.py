"""Defaults that follow the data: sensible for any size, as the docs say, and a person's own value wins."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from src.config.data_defaults import RULES, Facts
from src.config.loading import Config
from tests.config.test_loading import made
from tests.support.metas import data_meta
from tests.test_architecture import ROOT

IMAGES = (1000, 6000, 50_000)
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the data set `adult` is prepared, with 26,048 training rows of 14 features."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/prepared/adult"
    folder.mkdir(parents=True)
    meta = data_meta(14, n_train=26_048, categories=[9] * 8)
    (folder / "meta.json").write_text(json.dumps(meta.to_json()), encoding="utf-8")
    return folder


def config(*words: str) -> Config:
    return made("data=adult", *words)


def table_of_the_docs() -> str:
    """A line a rule: its name, its value for a convolutional net on images, and for tables of some sizes."""
    head = ["default", *(f"{n:,} images" for n in IMAGES), *(f"{n:,} rows" for n in SIZES)]
    lines = [head, ["---"] * len(head)]
    for name, rule in RULES.items():
        facts = [*(Facts(n, table=False) for n in IMAGES), *(Facts(n, table=True) for n in SIZES)]
        lines.append([f"`{name}`", *(_text(rule(each)) for each in facts)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "never" if value is None else str(value)


def test_the_table_of_the_docs_is_that_of_the_rules() -> None:
    text = (ROOT / "docs" / "defaults.md").read_text(encoding="utf-8")
    assert table_of_the_docs() in text, f"docs/defaults.md needs:\n{table_of_the_docs()}"


@pytest.mark.parametrize("rows", [2, 20, 30, 150, 5_000, 10**7])
@pytest.mark.parametrize("table", [True, False])
def test_any_size_has_sensible_ones(rows: int, table: bool) -> None:
    facts = Facts(rows, table)
    values = {name: rule(facts) for name, rule in RULES.items()}
    assert 16 <= values["batch_size"] <= 1024
    assert values["batch_size"] in values["batch_sizes"]
    assert 8 <= values["epochs"] <= 100
    assert 3 <= values["n_trials"] <= 100
    assert values["patience"] is None or values["patience"] < values["epochs"]
    assert values["least_width"] <= values["width"] <= values["most_width"]
    assert (values["most_width"] - values["least_width"]) % values["least_width"] == 0, "the step of the space"


def test_numbers_are_embedded_where_there_are_some_and_not_too_many() -> None:
    embedding = RULES["embedding"]
    kinds = [embedding(Facts(5000, True, n)) for n in (0, 1, 100, 101)]
    assert kinds == ["none", "piecewise_linear", "piecewise_linear", "none"]


def test_images_have_what_was_measured_for_them() -> None:
    values = {name: rule(Facts(1077, table=False)) for name, rule in RULES.items()}
    expected = {"batch_size": 64, "batch_sizes": [32, 64, 128], "epochs": 20, "patience": None, "n_trials": 100}
    assert values.items() >= expected.items()
    assert (values["least_width"], values["width"], values["most_width"]) == (32, 64, 128)


def test_a_stage_takes_those_of_the_prepared_data(table: Path) -> None:
    resolved, facts = config(), Facts(26_048, table=True)
    for key in ("epochs", "batch_size", "n_trials"):
        assert resolved[key] == RULES[key](facts)
    assert resolved["batch_size"] != 64, "as images have"
    assert resolved["training"]["early_stopping"]["patience"] == RULES["patience"](facts)
    (_, leaf), *_ = resolved.space.leaves()
    assert leaf.dimensions["model.width"].distribution.high == RULES["most_width"](facts)  # type: ignore[attr-defined]
    assert leaf.dimensions["batch_size"].choices == RULES["batch_sizes"](facts)
    assert config("data.rows=1000")["batch_size"] == RULES["batch_size"](Facts(1000, table=True))


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [("epochs=7", "epochs", 7), ("batch_size=48", "batch_size", 48), ("n_trials=9", "n_trials", 9)],
)
def test_a_value_of_a_persons_own_wins(table: Path, word: str, key: str, value: int) -> None:
    assert config(word)[key] == value
    assert config("experiment=quick")["epochs"] == 3
    assert config("training.early_stopping.patience=null")["training"]["early_stopping"]["patience"] is None


def test_auto_is_the_default_and_fixes_nothing(table: Path) -> None:
    assert config("epochs=auto", "n_trials=auto").root == config().root
    (_, leaf), *_ = config("batch_size=auto").space.leaves()
    assert "batch_size" in leaf.dimensions


def test_without_prepared_data_they_are_those_of_a_small_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (config()["epochs"], config()["batch_size"]) == (20, 64)


@pytest.mark.parametrize("search", ["pbt", "replay"])
def test_searches_whose_members_train_equally_long_stop_none_early(table: Path, search: str) -> None:
    assert config(f"search={search}")["training"]["early_stopping"]["patience"] is None


def test_the_scale_of_frequencies_is_searched_where_numbers_pass_through_periodic_embeddings(table: Path) -> None:
    def searched(*words: str) -> bool:
        (_, leaf), *_ = config(*words).space.leaves()
        return "model.frequency_scale" in leaf.dimensions

    assert config("data.rows=300")["model"]["embedding"] == "none"
    for model in ("mlp", "resnet", "tabm", "nca"):
        assert config(f"model={model}")["model"]["embedding"] == "piecewise_linear"
        assert searched(f"model={model}", "model.embedding=periodic")
        assert not searched(f"model={model}")
    assert not searched("model.embedding=none")
    assert not searched("model.embedding=periodic", "model.frequency_scale=2.0")
    (_, leaf), *_ = config("model.embedding=periodic", "space.model.frequency_scale.high=10.0").space.leaves()
    assert leaf.dimensions["model.frequency_scale"].distribution.high == 10.0  # type: ignore[attr-defined]
    assert leaf.dimensions["model.frequency_scale"].distribution.low == 0.01  # type: ignore[attr-defined]


def test_a_net_that_looks_up_neighbours_makes_fewer_and_larger_steps(table: Path) -> None:
    net, other = config("model=nca"), config()
    assert net["batch_size"] == 1024 > other["batch_size"]
    assert net["n_trials"] * 3 <= other["n_trials"]
    steps = net["epochs"] * 26_048 / net["batch_size"]
    assert 900 < steps < 1100
    assert 4900 < net["model"]["candidates"] * 26_048 < 5100
    assert net["training"]["early_stopping"]["patience"] == net["epochs"] // 3


@pytest.fixture
def images(table: Path) -> Path:
    """A folder in which 48,000 training images are prepared, as the data set `adult`."""
    meta = data_meta(14, n_train=48_000)
    (table / "meta.json").write_text(json.dumps(meta.to_json() | {"input_shape": [1, 28, 28]}), encoding="utf-8")
    return table


def test_many_images_get_a_deeper_net_and_few_long_trials(images: Path) -> None:
    net, of_few = config("model=cnn"), config("model=cnn", "data.rows=1000")
    assert (net["n_trials"], net["epochs"], net["members"]["n"]) == (3, 8, 3)
    assert (of_few["n_trials"], of_few["epochs"], of_few["members"]["n"]) == (100, 20, 5)
    assert net["model"] | {"channels": 32, "convolutions": 2, "norm": "batch", "initial": "dirac"} == net["model"]
    assert (
        of_few["model"] | {"channels": 16, "convolutions": 1, "norm": "group", "initial": "random"} == of_few["model"]
    )
    assert config("model=cnn", "model.norm=group")["model"]["norm"] == "group", "a person's own value wins"
    assert (net["lr_range"]["rows"], of_few["lr_range"]["rows"]) == (2000, 5000)
    (_, leaf), *_ = net.space.leaves()
    assert leaf.dimensions["model.channels"].distribution.low == 16  # type: ignore[attr-defined]


def test_a_net_to_which_images_are_rows_of_pixels_is_searched_for_longer(images: Path) -> None:
    assert config("model=mlp")["n_trials"] == 16
