"""The search space: what it parses to in Optuna's words, which points it has, and what it refuses."""

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.dimensions import dimensions
from src.config.space import Choice, Leaf, Space, with_value
from src.system.errors import UserError
from tests.support.virtual import conditional

CONFIG = {"model": {"name": "mlp", "width": 64, "depth": 2}, "optimizer": {"lr": 0.01}, "batch_size": 32}
TREE = {
    "model": {"width": {"type": "int", "low": 32, "high": 128, "step": 32}},
    "optimizer": {"lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True}},
    "batch_size": {"type": "categorical", "choices": [32, 64]},
}
WHOLE = ("model.width", "model.depth", "batch_size")


def refuse(key: str, value: Any) -> None:
    """A schema of three keys with whole numbers and one with any number."""
    if isinstance(value, str) or (key in WHOLE and isinstance(value, float)):
        raise UserError(f"{key}: not {value!r}")


def leaf(tree: dict[str, Any], config: dict[str, Any] | None = None, prefix: str = "") -> Leaf:
    config = config or CONFIG
    return Leaf(config, dimensions(tree, config, lambda key: prefix, refuse))


def space(tree: dict[str, Any], config: dict[str, Any] | None = None) -> Space:
    return Space(leaf(tree, config))


def test_entries_are_optunas_distributions() -> None:
    found = {name: dimension.distribution for name, dimension in leaf(TREE).dimensions.items()}
    assert found == {
        "model.width": IntDistribution(32, 128, step=32),
        "optimizer.lr": FloatDistribution(1e-4, 1.0, log=True),
        "batch_size": CategoricalDistribution([32, 64]),
    }


def test_a_point_sets_its_keys_and_no_other() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    before = repr(CONFIG)
    for _ in range(50):
        params = study.ask({name: d.distribution for name, d in leaf(TREE).dimensions.items()}).params
        assert space(TREE).walk(lambda name, distribution, params=params: params[name]) == params
        config = space(TREE).config(params)
        assert config["model"]["width"] in (32, 64, 96, 128)
        assert 1e-4 <= config["optimizer"]["lr"] <= 1
        assert config["batch_size"] in (32, 64)
        assert config["model"]["depth"] == 2
        assert config["model"]["name"] == "mlp"
        assert set(config) == set(CONFIG)
    assert repr(CONFIG) == before


def test_a_list_is_a_choice_too() -> None:
    tree = {"model": {"width": {"type": "categorical", "choices": [64, [50, 50], None]}}}
    params = {"model.width": "[50, 50]"}
    assert space(tree).distributions(params)["model.width"] == CategoricalDistribution([64, "[50, 50]", None])
    assert space(tree).config(params)["model"]["width"] == [50, 50]
    assert space(tree).config({"model.width": None})["model"]["width"] is None


def test_null_takes_a_dimension_or_a_section_out() -> None:
    assert set(leaf({**TREE, "batch_size": None, "model": None}).dimensions) == {"optimizer.lr"}


@pytest.mark.parametrize(
    ("key", "entry", "expected"),
    [
        ("optimizer.lr", {"low": 0, "high": 1}, FloatDistribution(0.0, 1.0)),
        ("model.depth", {"low": 1, "high": 3}, IntDistribution(1, 3)),
        ("model.depth", {"low": 1.0, "high": 3.0}, IntDistribution(1, 3)),
        ("model.depth", {"type": "int", "low": 1.0, "high": 8.0, "log": True}, IntDistribution(1, 8, log=True)),
        ("model.depth", {"choices": [1, 3]}, CategoricalDistribution([1, 3])),
        ("optimizer.lr", {"low": 0.5, "high": 0.5}, FloatDistribution(0.5, 0.5)),
        ("optimizer.lr", {"low": 0.0, "high": 0.3, "step": 0.1}, FloatDistribution(0.0, 0.3, step=0.1)),
    ],
)
def test_a_type_that_is_not_given_is_that_of_the_key(key: str, entry: dict[str, Any], expected: Any) -> None:
    tree: dict[str, Any] = {}
    section, _, name = key.partition(".")
    tree[section] = {name: entry}
    assert leaf(tree).dimensions[key].distribution == expected


def branching() -> Space:
    lr = {"optimizer": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}}
    adamw = {"optimizer": {"lr": {"type": "float", "low": 0.001, "high": 0.01}}}
    inner = Choice("model", "model", {"wide": leaf(TREE, prefix="wide/"), "plain": leaf(adamw)})
    return Space(Choice("optimizer", "optimizer", {"sgd": leaf(lr, prefix="sgd/"), "adamw": inner}))


def test_a_branch_has_only_its_own_dimensions() -> None:
    chosen = {"optimizer": "sgd", "sgd/optimizer.lr": 0.5}
    assert branching().config(chosen)["optimizer"]["lr"] == 0.5
    assert set(branching().distributions(chosen)) == set(chosen)
    deep = {"optimizer": "adamw", "model": "plain", "optimizer.lr": 0.005}
    assert branching().config(deep)["optimizer"]["lr"] == 0.005
    assert branching().distributions(deep)["model"] == CategoricalDistribution(["wide", "plain"])


def test_leaves_are_told_with_the_choices_that_lead_there() -> None:
    assert [chosen for chosen, _ in branching().leaves()] == [
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "model": "wide"},
        {"optimizer": "adamw", "model": "plain"},
    ]


def test_ends_are_every_bound_and_every_choice_one_at_a_time() -> None:
    ends = {(key, value) for key, value, _ in leaf(TREE).ends()}
    assert ends == {(key, v) for key, vs in (("model.width", (32, 128)), ("optimizer.lr", (1e-4, 1.0))) for v in vs} | {
        ("batch_size", 32),
        ("batch_size", 64),
    }
    for key, value, config in leaf(TREE).ends():
        assert config == with_value(CONFIG, key, value)


def test_a_description_is_equal_exactly_when_the_space_is() -> None:
    base = space(TREE).describe()
    reordered = dict(reversed(with_value(CONFIG, "model.depth", 2).items()))
    assert space(TREE, reordered).describe() == base
    assert space(TREE, with_value(CONFIG, "model.width", 96)).describe() == base  # the default of a searched key
    assert space(TREE, with_value(CONFIG, "model.depth", 3)).describe() != base  # of one that is not
    assert space(with_value(TREE, "optimizer.lr.high", 0.5)).describe() != base
    assert space(with_value(TREE, "batch_size.choices", [64, 32])).describe() != base
    assert space({**TREE, "batch_size": None}).describe() != base
    assert branching().describe() == branching().describe() != base


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"optimizer": {"lrr": {"type": "float", "low": 0, "high": 1}}}, ["space.optimizer.lrr", "space.optimizer.lr"]),
        ({"optimizer": {"lr": 0.1}}, ["space.optimizer.lr", "0.1"]),
        ({"optimizer": {"lr": {"type": "flaot", "low": 0, "high": 1}}}, ["space.optimizer.lr.type", "float"]),
        (
            {"optimizer": {"lr": {"type": "float", "low": 0, "hihg": 1}}},
            ["space.optimizer.lr.hihg", "mean space.optimizer.lr.high"],
        ),
        ({"optimizer": {"lr": {"type": "float", "low": 1, "high": 0}}}, ["space.optimizer.lr", "low 1", "high 0"]),
        ({"optimizer": {"lr": {"type": "float", "low": 0}}}, ["space.optimizer.lr.high", "None"]),
        ({"optimizer": {"lr": {"type": "float", "low": 0, "high": float("inf")}}}, ["space.optimizer.lr.high", "inf"]),
        ({"optimizer": {"lr": {"type": "float", "low": 0, "high": "1"}}}, ["space.optimizer.lr.high", "'1'"]),
        ({"optimizer": {"lr": {"type": "float", "low": 0, "high": True}}}, ["space.optimizer.lr.high", "True"]),
        ({"optimizer": {"lr": {"type": "float", "low": 0, "high": 1, "log": True}}}, ["space.optimizer.lr.low", "0"]),
        (
            {"optimizer": {"lr": {"type": "float", "low": 1, "high": 2, "log": "yes"}}},
            ["space.optimizer.lr.log", "yes"],
        ),
        ({"model": {"depth": {"type": "int", "low": 1, "high": 2.5}}}, ["space.model.depth.high", "2.5", "whole"]),
        ({"model": {"width": {"type": "int", "low": 1, "high": 8, "step": 3}}}, ["space.model.width.step", "3"]),
        ({"model": {"width": {"type": "int", "low": 1, "high": 8, "step": 0}}}, ["space.model.width.step"]),
        (
            {"model": {"width": {"type": "int", "low": 1, "high": 8, "step": 1, "log": True}}},
            ["space.model.width.step"],
        ),
        ({"batch_size": {"type": "categorical", "choices": []}}, ["space.batch_size.choices", "at least one"]),
        ({"batch_size": {"type": "categorical", "choices": "abc"}}, ["space.batch_size.choices", "list"]),
        ({"batch_size": {"type": "categorical", "choices": [1, 2, 1]}}, ["space.batch_size.choices", "1", "twice"]),
        ({"batch_size": {"type": "categorical", "choices": [1, "two"]}}, ["space.batch_size", "'two'"]),
        ({"model": {"depth": {"type": "float", "low": 1, "high": 3}}}, ["space.model.depth", "1.0"]),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_key(tree: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        leaf(tree)
    for word in words:
        assert word in str(caught.value)
    assert str(caught.value).startswith(words[0])


def test_a_point_of_another_type_or_with_a_part_more_or_less_is_none_of_the_space() -> None:
    """A record that was changed by hand, or by a failing disk, is told from a point by which a trial was trained."""
    space = conditional()
    params = {
        "optimizer": "a",
        "a/optimizer.lr": 1e-3,
        "a/optimizer.momentum": 0.1,
        "a/model.width": 64,
        "a/batch_size": 32,
    }
    assert space.contains(params)
    assert not space.contains({**params, "more": 1})
    for name in params:
        assert not space.contains({key: value for key, value in params.items() if key != name})
        for value in ("x", [1], {}, float("nan"), 10**400, -(10**12)):
            assert not space.contains({**params, name: value}), (name, value)
