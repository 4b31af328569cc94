"""Keys that have another name now: refused in one sentence, translated where a file has them, the same digest as before."""

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import initialize_config_dir

from src.config.compose import CONF, with_force_add
from src.config.loading import load
from src.config.renamed import RENAMED, first_name, name_of_today, with_first_names, with_names_of_today
from src.system.errors import UserError

FIRST: dict[str, Any] = {
    "model": {"name": "mlp", "width": [64, 32]},
    "optimizer": {"name": "sgd", "lr": 0.1, "scaling": "none", "base_batch": 64, "warmup_epochs": 0.0},
    "training": {"noise": 0.0},
    "regularization": {"l1": 0.0, "bias": {"l1": 0.0}},
    "averaging": {"ema": 0.0, "swa": None},
    "early_stopping": {"patience": None},
    "batch_growth": {"factor": 1.0, "at": []},
    "accumulate": 2,
    "objective": {"folds": 1},
    "objectives": None,
    "constraints": {},
}


def test_a_config_goes_to_the_names_of_today_and_back() -> None:
    today = with_names_of_today(FIRST)
    assert today["training"]["early_stopping"] == {"patience": None}
    assert today["optimizer"]["batch_scaling"] == {"rule": "none", "base_batch": 64, "rise_epochs": 0.0}
    assert today["objective"] == {"folds": 1, "minimize": None, "constraints": {}}
    assert set(today) == {"model", "optimizer", "training", "objective"}
    assert with_names_of_today(today) == today
    assert with_first_names(today) == FIRST == with_first_names(FIRST)


@pytest.mark.parametrize(
    ("first", "today"),
    [
        ("augment.rotation", "training.augment.rotation"),
        ("sgd/optimizer.scaling", "sgd/optimizer.batch_scaling.rule"),
        ("optimizer.lr", "optimizer.lr"),
        ("augmented", "augmented"),
        ("cnn/model.width", "cnn/model.width"),
    ],
)
def test_the_names_of_parameters_are_translated_both_ways(first: str, today: str) -> None:
    assert (name_of_today(first), first_name(today)) == (today, first)


@pytest.fixture(scope="module")
def conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("first", RENAMED)
def test_a_first_name_is_refused_in_one_sentence_with_the_name_of_today(first: str) -> None:
    for word, key in ((f"{first}=1", first), (f"+{first}=1", first), (f"{first}.x=1", f"{first}.x")):
        with pytest.raises(UserError) as refusal:
            load([with_force_add(word)])
        assert str(refusal.value) == f"{key}: this key is {name_of_today(key)} now"


@pytest.mark.usefixtures("conf")
def test_a_first_name_below_space_is_refused_too() -> None:
    with pytest.raises(
        UserError, match=r"^space\.augment\.rotation: this key is space\.training\.augment\.rotation now$"
    ):
        load(["+space.augment.rotation={low: 0, high: 10}"])


def test_a_key_that_came_later_is_no_part_of_a_description_until_it_says_something() -> None:
    """So a study that was begun before the key has the same digest."""
    before = {"model": {"name": "mlp", "embedding": "none"}, "optimizer": {"lr": 0.1}, "epochs": 3}
    factors = {"by_fan_in": False, "bias": 1.0, "scale": 1.0, "activation": 1.0, "embedding": 1.0}
    today = {
        "model": {**before["model"], "frequency_scale": 0.1, "n_bins": 48, "bins": "quantile", "front_scale": False},
        "optimizer": {"lr": 0.1, "rate_factors": factors},
        "epochs": 3,
    }
    assert with_first_names(today) == with_first_names(before)
    assert with_first_names({**today, "model": {**today["model"], "n_bins": 64}})["model"]["n_bins"] == 64
    assert with_first_names({"model": {"n_bins": None}}) == {"model": {"n_bins": None}}  # searched
