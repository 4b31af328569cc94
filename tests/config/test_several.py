"""A group of which a stage takes several options: listed on the command line or in params.yaml, each with its own keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from src.config.compose import CONF, with_force_add
from src.config.loading import load
from src.system.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person's folder, with the params.yaml that a test writes."""
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield tmp_path


def combiners(*words: str) -> list[dict[str, Any]]:
    config = load([with_force_add(word) for word in words], several=("combiner",))
    assert config["combiner"] == config.several["combiner"][0]
    return config.several["combiner"]


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        combiners(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_command_line_lists_them_in_its_order(folder: Path) -> None:
    (folder / "params.yaml").write_text("models: [mlp]\ncombiner: vote\n")
    assert [c["name"] for c in combiners("combiner=[greedy,average]")] == ["greedy", "average"]
    assert [c["name"] for c in combiners("combiner=stacking")] == ["stacking"]


def test_params_yaml_lists_them_where_the_command_line_does_not(folder: Path) -> None:
    (folder / "params.yaml").write_text("models: [mlp]\ncombiner: [weighted, vote]\n")
    assert [c["name"] for c in combiners()] == ["weighted", "vote"]
    (folder / "params.yaml").write_text("models: [mlp]\ncombiner: vote\n")
    assert [c["name"] for c in combiners()] == ["vote"]
    (folder / "params.yaml").write_text("models: [mlp]\n")
    assert [c["name"] for c in combiners()] == ["average"]


def test_a_key_goes_to_those_that_have_it(folder: Path) -> None:
    (folder / "params.yaml").write_text("models: [mlp]\ncombiner: [average, greedy]\n")
    average, greedy = combiners("combiner.bags=3", "combiner.temperature=true")
    assert (average, greedy["bags"]) == ({"name": "average", "complexity": 0, "temperature": True}, 3)
    assert greedy["temperature"] is True


def test_what_is_wrong_is_said_in_a_sentence(folder: Path) -> None:
    (folder / "params.yaml").write_text("models: [mlp]\ncombiner: [average, greedy]\n")
    assert refusal("combiner=[average,gredy]").endswith("did you mean greedy?")
    assert refusal("combiner=[]").startswith(
        "combiner: name one or a list of average, greedy, stacking, vote, weighted"
    )
    assert "each once" in refusal("combiner=[vote,vote]")
    assert refusal("combiner.bags=0") == "combiner.bags: should be greater than 0, not 0"
    assert refusal("combiner.strengths=[1.0]").startswith("combiner.strengths: no such key")
    assert "combiner.temperature: should" in refusal("combiner.temperature=warm")
    (folder / "params.yaml").write_text("models: [mlp]\ncombiner: [average, gredy]\n")
    assert refusal().endswith("did you mean greedy?")
