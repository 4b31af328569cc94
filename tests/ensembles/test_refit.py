"""Refits: what was fitted on members is served with these members, or fitted anew for their refits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from src.data.dataset import load_test
from src.ensembles.combiners.average import average
from src.ensembles.combiners.vote import vote
from src.ensembles.combiners.weighted import weighted
from src.ensembles.final_member import FinalMember, member_weights
from src.ensembles.mixture import Vote, Weighted, read
from src.ensembles.selection import Combiner, compare_combiners
from src.serving.bundle import read_bundle
from tests.ensembles.test_combiners import STACKING, classified
from tests.ensembles.test_selection import committees, final_member
from tests.support.running import Place, end_all


def boosted(p_MNC: NDArray[Any]) -> list[FinalMember]:
    """Members whose refits have other weights of their own."""
    pool = []
    for k, p_NC in enumerate(p_MNC):
        judged = replace(final_member("mlp", "adaboost", f"adaboost-{k}", p_NC), weight=1.0 + k)
        pool.append(replace(judged, refit=replace(judged, weight=5.0 - k)))
    return pool


def test_refits_are_averaged_by_their_own_weights() -> None:
    p_MNC, y_N = classified(members=4)
    pool = boosted(p_MNC)
    candidates, _ = compare_combiners(pool, [Combiner("average", average), Combiner("vote", vote)], y_N, y_N)
    for name, kind in (("average", Weighted), ("vote", Vote)):
        candidate = candidates[f"mlp:adaboost+{name}"]
        members, mixture = candidate.served(pool)
        assert [member is one.refit for member, one in zip(members, pool, strict=True)] == [True] * 4
        assert isinstance(mixture, kind)
        np.testing.assert_allclose(mixture.weights.numpy(), np.array([5, 4, 3, 2]) / 14)
        np.testing.assert_allclose(candidate.mixture.shares.numpy(), np.array([1, 2, 3, 4]) / 10)


def test_what_is_fitted_on_the_validation_rows_is_served_with_the_members_that_were_judged() -> None:
    p_MNC, y_N = classified(members=4, rows=400)
    pool = boosted(p_MNC)
    candidates, _ = compare_combiners(pool, [Combiner("weighted", weighted), Combiner("stacking", STACKING)], y_N, y_N)
    for name in ("weighted", "stacking"):
        candidate = candidates[f"mlp:adaboost+{name}"]
        members, mixture = candidate.served(pool)
        assert members == [pool[k] for k in candidate.used]
        assert (
            torch.equal(next(mixture.buffers()), next(candidate.mixture.subset(np.arange(4)).buffers()))
            or len(members) < 4
        )


@pytest.mark.parametrize("positions", [[2], [0, 3]])
@pytest.mark.parametrize("kind", [Weighted, Vote])
def test_a_selection_of_members_is_served_by_their_refits(kind: type[Weighted | Vote], positions: list[int]) -> None:
    """As the best single model is: on digits one net was registered as it was judged, and its refit stood beside it."""
    p_MNC, y_N = classified(members=4, rows=400)
    share_M = np.zeros(4)
    share_M[positions] = 1 / len(positions)
    pool = [final_member("mlp", "seeds", f"seeds-{k}", p_NC) for k, p_NC in enumerate(p_MNC)]
    pool = [replace(member, refit=replace(member)) for member in pool]
    fit = Combiner("selection", lambda p, y, weight: kind(share_M))
    candidate = compare_combiners(pool, [fit], y_N, y_N)[0]["mlp:seeds+selection"]
    members, mixture = candidate.served(pool)
    assert [id(member) for member in members] == [id(pool[k].refit) for k in positions]
    np.testing.assert_array_equal(mixture.shares.numpy(), share_M[positions])
    fitted = Combiner("fitted", lambda p, y, weight: kind(np.array([0.7, 0.3, 0.0, 0.0])))
    assert compare_combiners(pool, [fitted], y_N, y_N)[0]["mlp:seeds+fitted"].served(pool)[0] == pool[:2]
    unlike = compare_combiners(boosted(p_MNC), [fit], y_N, y_N)[0]["mlp:adaboost+selection"]
    assert (unlike.refit_mixture is None) == (len(positions) > 1), (
        "members whose own weights differ are no mere selection"
    )


def test_what_is_fitted_on_out_of_fold_predictions_is_fitted_anew_on_those_of_the_refits() -> None:
    p_MNC, y_N = classified(rows=700)
    rng = np.random.default_rng(5)
    pool = []
    for member in committees(p_MNC, 500):
        other = rng.dirichlet(np.ones(3), 700).astype(np.float32)  # of all rows, the validation rows too
        pool.append(replace(member, refit=replace(member, out_of_fold_predictions=other)))
    fits = [Combiner("stacking", STACKING, on_out_of_fold=True)]
    chosen = compare_combiners(pool, fits, y_N[500:], y_N[:500])[0]["all:folds+stacking"]
    assert chosen.refit_mixture is not None
    refits = [member.refit for member in pool if member.refit]
    expected = compare_combiners(refits, fits, y_N[500:], y_N)[0]["all:folds+stacking"]
    assert torch.equal(chosen.refit_mixture.inner.coefficients, expected.mixture.inner.coefficients)  # type: ignore[union-attr, arg-type]
    assert not torch.equal(chosen.refit_mixture.inner.coefficients, chosen.mixture.inner.coefficients)  # type: ignore[union-attr, arg-type]


def test_members_without_a_refit_stay_beside_those_that_have_one() -> None:
    """The best trials of a sweep are taken as they are."""
    p_MNC, y_N = classified(members=3)
    top = final_member("mlp", "top", "top-7", p_MNC[0])
    pool = [top, *boosted(p_MNC[1:])]
    chosen = compare_combiners(pool, [Combiner("average", average)], y_N, y_N)[0]["mlp:all+average"]
    members, mixture = chosen.served(pool)
    assert members == [top, pool[1].refit, pool[2].refit]
    np.testing.assert_allclose(mixture.shares.numpy(), member_weights(members))


# --- the stages --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def boosting(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("boosting"), prepared)
    place.run("n_trials=2", "epochs=2", "search=random", "workers=1")
    place.run("members=adaboost", "members.n=4", "members.epochs=1", "workers=1", verb="train")
    yield place
    end_all()


@pytest.mark.slow
@pytest.mark.parametrize("combiner", ["average", "weighted"])
def test_adaboost_is_served_as_one_run_made_it(combiner: str, boosting: Place) -> None:
    words = ("models=[mlp]", f"combiner={combiner}", "baselines=[]", "export.pt2=false")
    out = boosting.run(*words, verb="ensemble").stdout
    folder, metrics = boosting.folder / "outputs", json.loads((boosting.folder / "metrics.json").read_text())
    lines = json.loads((folder / "train/mlp/members.json").read_text())["items"]
    refits = [line["refit"] for line in lines]
    assert [line["weight"] for line in lines] != [refit["weight"] for refit in refits]
    refit = combiner == "average"
    assert metrics["refit"] is refit
    assert ("refitted on the validation rows too" in out) is refit
    for k, line in enumerate(refits if refit else lines):
        member = load_file(folder / "train/mlp" / line["weights"])
        in_bundle = load_file(folder / f"ensemble/model/member-{k}.safetensors")
        assert all(torch.equal(in_bundle[name], value) for name, value in member.items())
    if refit:
        weights = np.array([line["weight"] for line in refits])
        mixture = read(folder / "ensemble/model/joint.safetensors")
        np.testing.assert_allclose(mixture.shares.numpy(), weights / weights.sum())
    x, y = load_test(boosting.folder / "data/prepared/digits")
    answers = read_bundle(folder / "ensemble/model").module()(torch.from_numpy(np.array(x))).numpy()
    assert (answers.argmax(1) == y).mean() == metrics["test"]["accuracy"]
