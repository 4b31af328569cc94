"""Acceptance: what is served is loaded back and compared with what was judged, and is not crowned beyond chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.data.dataset import load, load_test, val_targets
from src.ensembles.combiners.average import average
from src.ensembles.comparison import Comparison, compare, final_scores, predict_members
from src.ensembles.final_member import FinalMember
from src.ensembles.pool import read_pool
from src.ensembles.selection import Combiner, compare_combiners
from src.metrics.listing import selection
from src.serving.acceptance import Accepted, Inputs, write_accepted
from src.serving.bundle import read_bundle
from src.system.errors import UserError
from tests.ensembles.test_pool import prepared_digits, write_members


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acceptance")
    write_members(folder / "outputs", prepared_digits(folder))
    return folder


@pytest.fixture
def prepared(place: Path) -> Path:
    return place / "data/prepared/digits"


@pytest.fixture
def members(place: Path, prepared: Path) -> list[FinalMember]:
    """Three softmax regressions, each on a bootstrap of the training rows."""
    return read_pool(place / "outputs", ["linear"], load(prepared).meta)


def with_weights(member: FinalMember, factor: float) -> FinalMember:
    """The member with all weights times a factor."""
    weights = {name: factor * value for name, value in member.checkpoint.weights.items()}
    return replace(member, checkpoint=replace(member.checkpoint, weights=weights))


def with_refits(members: list[FinalMember], factors: list[float]) -> list[FinalMember]:
    """The same members, whose refits have their weights times a factor."""
    return [replace(one, refit=with_weights(one, factor)) for one, factor in zip(members, factors, strict=True)]


def accepted(pool: list[FinalMember], prepared: Path, bundle: Path, refusal: str = "") -> Accepted:
    x_test, _ = load_test(prepared)
    y_val = val_targets(prepared)
    candidates, _ = compare_combiners(pool, [Combiner("average", average)], y_val, y_val)
    comparison: Comparison = compare(selection("classification", None), pool, candidates, y_val)
    inputs = Inputs(load(prepared).x_val, y_val, x_test)
    comparison = replace(comparison, refusal=refusal)
    return write_accepted(bundle, prepared, comparison, predict_members(pool, x_test), inputs)


def served(bundle: Path, prepared: Path) -> Any:
    x_test, _ = load_test(prepared)
    return read_bundle(bundle).module()(torch.from_numpy(np.array(x_test))).numpy()


def test_members_as_they_were_judged_are_accepted(members: Any, prepared: Path, tmp_path: Path) -> None:
    result = accepted(members, prepared, tmp_path / "b")
    assert (result.refusal, list(result.notes)) == ("", [])


def test_what_is_worse_than_its_best_member_is_not_crowned(members: Any, prepared: Path, tmp_path: Path) -> None:
    result = accepted(members, prepared, tmp_path / "b", "it is worse than its best single model")
    assert result.refusal == "it is worse than its best single model"


def test_refits_that_are_no_worse_are_served(members: Any, prepared: Path, tmp_path: Path) -> None:
    result = accepted(with_refits(members, [1.1, 1.1, 1.1]), prepared, tmp_path / "b")
    assert (result.refusal, list(result.notes)) == ("", [])
    assert result.comparison.ensemble.refit_mixture is not None
    x_test, y_test = load_test(prepared)
    pool = list(result.comparison.pool)
    scores = final_scores(result.comparison, predict_members(pool, x_test), x_test, y_test)
    assert scores.metrics["judged"]["test"] != scores.metrics["test"]
    np.testing.assert_allclose(served(tmp_path / "b", prepared), scores.ensemble, atol=1e-6)


@pytest.mark.parametrize("factors", [[1.1, 0.0, 0.0], [-1.0, -1.0, -1.0]], ids=["collapsed", "much worse"])
def test_refits_that_collapsed_are_not_served(factors: Any, members: Any, prepared: Path, tmp_path: Path) -> None:
    """Two of three that predict the same for every row, say, and nobody looked."""
    result = accepted(with_refits(members, factors), prepared, tmp_path / "b")
    assert result.refusal == ""
    (note,) = result.notes
    assert note.startswith("linear:bagging+average is served by the members that were judged, not by their refits: ")
    assert "\n" not in note
    x_test, y_test = load_test(prepared)
    pool = list(result.comparison.pool)
    scores = final_scores(result.comparison, predict_members(pool, x_test), x_test, y_test)
    assert scores.metrics["refit"] is False
    assert scores.metrics["judged"]["test"] == scores.metrics["test"]
    np.testing.assert_allclose(served(tmp_path / "b", prepared), scores.ensemble, atol=1e-6)


def test_weights_that_are_not_those_that_were_judged_are_not_crowned(
    members: Any, prepared: Path, tmp_path: Path
) -> None:
    result = accepted([with_weights(member, -1.0) for member in members], prepared, tmp_path / "b")
    assert result.refusal == "what would be served is not what was judged"
    (note,) = result.notes
    assert note.startswith(
        "linear:bagging+average is not crowned: loaded back and asked for the validation rows, it is "
    )


def test_what_is_not_finite_is_refused(members: Any, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^ensemble: linear:bagging\+average predicts numbers that are not finite, so not"
    ):
        accepted([with_weights(member, float("nan")) for member in members], prepared, tmp_path / "b")


def test_members_with_weights_that_are_not_finite_are_left_out(place: Path, prepared: Path, capsys: Any) -> None:
    from safetensors.torch import load_file, save_file

    file = place / "outputs/train/linear/member-1/weights.safetensors"
    weights = load_file(file)
    try:
        save_file({name: value * float("nan") for name, value in weights.items()}, file)
        pool = read_pool(place / "outputs", ["linear"], load(prepared).meta)
    finally:
        save_file(weights, file)
    assert [member.name for member in pool] == ["member-0", "member-2"]
    assert capsys.readouterr().out == "linear bagging member-1 is left out: it does not predict finite numbers\n"
