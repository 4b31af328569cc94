"""The range test from the command line to its files, and what a sweep makes of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.running import Place, end_all

pytestmark = pytest.mark.slow
SHORT = ("lr_range.steps=60", "lr_range.linear.epochs=2", "lr_range.parallel.members=5", "lr_range.parallel.epochs=1")
RESULT = Path("outputs") / "lr_range" / "linear" / "lr_range.json"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Digits, on which the range test of the linear model has run."""
    here = Place(tmp_path_factory.mktemp("range"))
    here.run("data=digits", verb="prepare")
    here.console = here.run("model=linear", *SHORT, verb="lr_range").stdout  # type: ignore[attr-defined]
    yield here
    end_all()


def read(place: Place) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((place.folder / RESULT).read_text(encoding="utf-8"))
    return content


def test_it_says_what_it_suggests_and_draws_it(place: Place) -> None:
    result = read(place)
    assert place.console.startswith(f"linear: suggested rate {result['suggested_lr']:.2g}, cycles between")  # type: ignore[attr-defined]
    assert (place.folder / RESULT).with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    meta = json.loads((place.folder / "data/prepared/digits/meta.json").read_text(encoding="utf-8"))
    assert (result["sha256"], result["optimizer"], result["rule"]) == (meta["sha256"], "adamw", "parallel")


def test_the_curves_are_those_of_a_ramp(place: Place) -> None:
    result = read(place)
    rates = np.array([point["lr"] for point in result["curve"]])
    assert rates[0] == pytest.approx(1e-6)
    np.testing.assert_allclose(np.diff(np.log(rates)), np.diff(np.log(rates))[0], rtol=1e-3)
    assert len(result["parallel"]) == 5
    assert all(0 <= point["accuracy"] <= 1 for point in result["parallel"])
    losses = {point["lr"]: point["loss"] for point in result["parallel"]}
    assert min(losses, key=lambda rate: losses[rate]) == pytest.approx(result["parallel_lr"])
    assert result["suggested_lr"] == result["parallel_lr"]
    assert 1e-6 < result["base_lr"] < result["max_lr"] <= 10.0


def test_at_the_suggested_rate_the_model_learns(place: Place) -> None:
    rate = read(place)["suggested_lr"]
    lowest = min(point["loss"] for point in read(place)["parallel"])
    assert lowest < 0.6 * np.log(10), "a third less than chance after one epoch"
    place.run("model=linear", "search=random", f"optimizer.lr={rate}", "n_trials=1", "epochs=3")
    with (place.folder / "outputs/sweep/linear/summary.json").open(encoding="utf-8") as file:
        assert json.load(file)["best_value"] > 0.85


def test_the_same_command_leaves_the_same_bytes(place: Place) -> None:
    before = (place.folder / RESULT).read_bytes()
    place.run("model=linear", *SHORT, verb="lr_range")
    assert (place.folder / RESULT).read_bytes() == before


def test_a_sweep_searches_around_it_and_refuses_one_of_other_data(place: Place) -> None:
    words = ("model=linear", "search=random", "search.rate_prior=lr_range", "n_trials=2", "epochs=1")
    place.run(*words)
    result = read(place)
    other = {**result, "sha256": "0" * 64}
    try:
        (place.folder / RESULT).write_text(json.dumps(other), encoding="utf-8")
        refused = place.run(*words, ok=False)
        assert refused.stderr.startswith("error: ")
        assert refused.stderr.count("\n") == 1
        assert "lr_range" in refused.stderr
    finally:
        (place.folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("lr_range.low=1.0", "lr_range.high=0.1"), "error: lr_range: low 1.0 must be below high 0.1"),
        (("lr_range.rule=slope",), "error: lr_range.rule"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(place: Place, words: tuple[str, ...], sentence: str) -> None:
    refused = place.run("model=linear", *words, ok=False, verb="lr_range")
    assert refused.stderr.startswith(sentence), refused.stderr
    assert refused.stderr.count("\n") == 1


NET = """
import os

from torch import nn

class Net(nn.Module):
    def __init__(self, *, input_shape: tuple[int, ...], n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(64, n_outputs)

    def forward(self, x):
        if len(x) > 1:
            os._exit(7)
        return self.layer(x.flatten(1))
"""


def test_a_model_that_ends_its_process_is_one_sentence(place: Place) -> None:
    (place.folder / "mine" / "model").mkdir(parents=True)
    (place.folder / "leaves.py").write_text(NET, encoding="utf-8")
    text = "# @package _global_\nmodel: {_target_: leaves.Net}\n"
    (place.folder / "mine" / "model" / "leaves.yaml").write_text(text, encoding="utf-8")
    words = ("--config-dir", "mine", "model=leaves", "trusted=[leaves]")
    refused = place.run(*words, *SHORT, ok=False, verb="lr_range")
    assert refused.stderr == "error: model leaves.Net: it ends the process that trains it (out of memory?)\n"
