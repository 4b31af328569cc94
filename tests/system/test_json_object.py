"""Configs of trials and metas of data: typed inside, and the same bytes on disk."""

import json
import pickle
from dataclasses import fields, replace
from typing import Any

import pytest
from hydra import initialize_config_dir

from src.config import schema
from src.config.compose import CONF
from src.config.loading import load
from src.system import trial_config
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.json_object import JsonObject
from src.system.trial_config import BatchScaling, EarlyStopping, TrialConfig

NUMBER = {"name": "a", "dtype": "double", "required": True}
META: dict[str, Any] = {
    "name": "t", "task": "regression", "n_train": 8, "n_val": 1, "n_test": 1, "input_shape": [2], "n_classes": 0,
    "class_names": [], "sha256": "0" * 64, "categories": [3], "bins": [[0.0, 1]], "target_mean": 5, "target_std": 0.5,
    "columns": [NUMBER],
}  # fmt: skip
OF_TODAY = {"class_values": [], "source": "file", "profile": [], "warnings": ["w"], "origin": {"config": {}}}
# As versions wrote it before there were most sections of `training`, and with a key of a later one.
CONFIG: dict[str, Any] = {
    "schedule": {"name": "cosine", "warmup": 0.05, "final": 0.0},
    "model": {"name": "mlp", "width": [64, 32], "own": {"deep": [1, {"x": None}]}},
    "optimizer": {"name": "sgd", "lr": 1, "momentum": 0.9},
    "training": {
        "noise": 0,
        "of_tomorrow": True,
        "averaging": None,
        "regularization": {"bias": {"l2": 0.1}, "l1": 1e-4},
    },
    "batch_size": 64,
    "epochs": 5,
}


def text(value: Any) -> str:
    """JSON in which the order of keys and 0 or 0.0 show."""
    return json.dumps(value)


@pytest.mark.parametrize("meta", [META, OF_TODAY | META, {**META, "of_tomorrow": 1}])
def test_a_meta_of_any_version_is_written_as_it_was_read(meta: dict[str, Any]) -> None:
    assert text(DataMeta.from_json(meta).to_json()) == text(meta)


@pytest.mark.parametrize("removed", [(), ("training",)])
def test_a_config_of_any_version_is_written_as_it_was_read(removed: tuple[str, ...]) -> None:
    config = {key: value for key, value in CONFIG.items() if key not in removed}
    assert text(TrialConfig.from_json(config).to_json()) == text(config)
    assert text(pickle.loads(pickle.dumps(TrialConfig.from_json(config))).to_json()) == text(config)


def test_the_config_of_every_default_is_written_as_it_was_composed() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = load(["experiment=regularized"])
    trial = {key: config[key] for key in ("model", "optimizer", "schedule", "training", "batch_size", "epochs")}
    assert text(TrialConfig.from_json(trial).to_json()) == text(trial)


def test_what_is_absent_is_off() -> None:
    training = TrialConfig.from_json(CONFIG).training
    assert (training.accumulate, training.batch_growth.on, training.averaging.on) == (1, False, False)
    assert (training.regularization.l1, training.regularization.bias.l2, training.regularization.activity.l2) == (
        1e-4,
        0.1,
        0,
    )
    assert training.early_stopping == EarlyStopping(patience=None, min_delta=0.0)


def test_only_what_is_replaced_changes_what_is_written() -> None:
    config = TrialConfig.from_json(CONFIG)
    stopping = replace(config.training, early_stopping=EarlyStopping(patience=3))
    changed = replace(config, epochs=9, training=stopping).to_json()
    assert changed == {**CONFIG, "epochs": 9, "training": {**CONFIG["training"], "early_stopping": {"patience": 3}}}
    assert list(changed) == list(CONFIG)
    assert config.with_optimizer(lr=0.5).lr == 0.5
    assert config.with_optimizer(lr=0.5).to_json() == {**CONFIG, "optimizer": {**CONFIG["optimizer"], "lr": 0.5}}
    assert replace(DataMeta.from_json(META), input_shape=(1, 8, 8)).to_json() == {**META, "input_shape": [1, 8, 8]}


def test_equal_configs_are_equal_however_they_are_written() -> None:
    config = TrialConfig.from_json(CONFIG)
    assert config == TrialConfig.from_json({**CONFIG, "training": {**CONFIG["training"], "mixup": 0.0}})
    assert config != replace(config, batch_size=65)


@pytest.mark.parametrize(("cls", "whole", "key"), [(DataMeta, META, "sha256"), (TrialConfig, CONFIG, "epochs")])
def test_a_lacking_key_is_named(cls: type[JsonObject], whole: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"lacks the key {key}"):
        cls.from_json({name: value for name, value in whole.items() if name != key})


def test_the_sections_of_a_trial_have_the_keys_of_the_schema() -> None:
    compared = []
    for name in vars(trial_config):
        cls = getattr(trial_config, name)
        if (
            isinstance(cls, type)
            and issubclass(cls, trial_config.Section)
            and hasattr(schema, name)
            and name != "Section"
        ):
            assert {each.name for each in fields(cls)} - {"written"} == getattr(schema, name).model_fields.keys(), name
            compared.append(cls)
    assert {trial_config.Training, BatchScaling, trial_config.Augment, EarlyStopping} <= set(compared)
