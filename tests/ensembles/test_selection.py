"""What a combiner is fitted on: validation rows, or training rows by members that have not seen them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from src.ensembles.combiners.average import average
from src.ensembles.final_member import FinalMember
from src.ensembles.mixture import read, write
from src.ensembles.row_folds import cross_validated
from src.ensembles.selection import Combiner, compare_combiners
from src.ensembles.temperature import calibrated
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from tests.ensembles.test_combiners import STACKING, classified, equal, valued
from tests.support.metas import data_meta
from tests.support.training import config

FITS = [
    Combiner("average", average, False),
    Combiner("blind", STACKING, True),
    Combiner("blind+temperature", partial(calibrated, STACKING), True),
    Combiner("validation", STACKING, False),
]
COMMITTEES = {"mlp": slice(0, 3), "cnn": slice(3, 6)}


def committees(p_MNC: NDArray[Any], train: int) -> list[FinalMember]:
    """Two committees of three; every member has been trained on the first `train` rows, but for its third of them."""
    pool = []
    for k, p_NC in enumerate(p_MNC):
        out_of_fold = p_NC[:train].astype(np.float32)
        out_of_fold[np.arange(train) % 3 != k % 3] = np.nan
        pool.append(final_member("mlp" if k < 3 else "cnn", "folds", f"folds-{k % 3}", p_NC[train:], out_of_fold))
    return pool


def final_member(
    model: str, method: str, name: str, val: NDArray[Any], out_of_fold: NDArray[np.float32] | None = None
) -> FinalMember:
    checkpoint = Checkpoint(0, {}, {}, {}, torch.from_numpy(val.astype(np.float32)))
    return FinalMember(
        name,
        Member(config(), 0),
        checkpoint,
        data_meta(2),
        out_of_fold_predictions=out_of_fold,
        model=model,
        method=method,
    )


def blind(pool: list[FinalMember], which: slice) -> NDArray[Any]:
    """What a committee says of the training rows, each by the member that has not seen it."""
    return np.nansum(
        np.stack([m.out_of_fold_predictions for m in pool[which] if m.out_of_fold_predictions is not None]), 0
    )


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_stacking_learns_how_committees_err_on_rows_that_they_have_not_seen(task: str, tmp_path: Path) -> None:
    p_MNC, y_N = classified(rows=700) if task == "classification" else valued(rows=700)
    pool = committees(p_MNC, 500)
    compared, _ = compare_combiners(pool, FITS[:2], y_N[500:], y_N[:500])
    mean_GNC = np.stack([p_MNC[own, 500:].mean(0) for own in COMMITTEES.values()])
    expected = STACKING(np.stack([blind(pool, own) for own in COMMITTEES.values()]), y_N[:500], equal(mean_GNC))
    chosen = compared["all:folds+blind"]
    np.testing.assert_allclose(chosen.val, expected.predict(mean_GNC), rtol=1e-5)
    np.testing.assert_allclose(chosen.shares, np.repeat(expected.shares.numpy() / 3, 3), rtol=1e-5)
    write(chosen.served(pool)[1], tmp_path / "joint.safetensors")
    val_MNC = np.stack([member.val_predictions for member in pool])
    np.testing.assert_array_equal(read(tmp_path / "joint.safetensors").predict(val_MNC), chosen.val)


def test_validation_rows_have_no_part_in_it() -> None:
    p_MNC, y_N = classified(rows=1000)
    pool = committees(p_MNC, 500)
    one, other = (compare_combiners(pool, FITS, labels, y_N[:500])[0] for labels in (y_N[500:], np.roll(y_N[500:], 1)))
    for name in ("all:folds+blind", "all:folds+blind+temperature"):
        np.testing.assert_array_equal(one[name].val, other[name].val)
    assert not np.array_equal(one["all:folds+validation"].val, other["all:folds+validation"].val)


def test_where_a_member_has_seen_all_rows_the_validation_rows_serve() -> None:
    p_MNC, y_N = classified(rows=1000)
    pool = committees(p_MNC, 500)
    seen = final_member("cnn", "seeds", "seeds-0", pool[3].val_predictions)
    compared, _ = compare_combiners([*pool[:3], seen], FITS, y_N[500:], y_N[:500])
    found = cross_validated(
        STACKING, np.stack([m.val_predictions for m in [*pool[:3], seen]]), y_N[500:], np.full(4, 0.25)
    )
    assert compared["all:all+blind"].val.shape == found.shape
    np.testing.assert_array_equal(compared["all:all+blind"].val, compared["all:all+validation"].val)


def test_rows_that_every_member_of_a_committee_has_seen_are_left_out() -> None:
    p_MNC, y_N = classified(rows=700)
    pool = committees(p_MNC, 500)
    for member in pool[:3]:
        assert member.out_of_fold_predictions is not None
        member.out_of_fold_predictions[:60] = np.nan  # by a bootstrap
    wrong = y_N[:500].copy()
    wrong[:60] = (wrong[:60] + 1) % 3
    one, other = (
        compare_combiners(pool, FITS[:2], y_N[500:], labels)[0]["all:folds+blind"].val for labels in (y_N[:500], wrong)
    )
    np.testing.assert_array_equal(one, other)


def test_nothing_is_learnt_from_random_labels() -> None:
    """The gain over chance on the validation rows is zero within the noise of as many rows."""
    gains = []
    for seed in range(4):
        p_MNC, _ = classified(seed, rows=1200)
        y_N = np.random.default_rng(100 + seed).integers(0, 3, 1200)
        compared, _ = compare_combiners(committees(p_MNC, 800), FITS[:2], y_N[800:], y_N[:800])
        gains.append((compared["all:folds+blind"].val.argmax(1) == y_N[800:]).mean() - 1 / 3)
    assert abs(np.mean(gains)) < 3 * np.sqrt(2 / 9 / 1600)
