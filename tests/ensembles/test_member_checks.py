"""Members that diverge, collapse or are much worse than their like: trained again, replaced or left out, and said so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.ensembles.final_member import FinalMember
from src.ensembles.member_checks import complaint
from src.ensembles.members.gradient_boosting import gradient_boosting
from src.ensembles.members.seeds import seeds
from src.population.member import Member
from tests.ensembles.test_combiners import classified, valued
from tests.ensembles.test_members import training
from tests.support.running import Place, end_all
from tests.support.training import config, table

__all__ = ["training"]  # a fixture

GOOD = config(epochs=4, lr=0.03)
CLIFF = config(epochs=4, lr=0.3)  # with the seed 4: several times the error, and well again at half of it
COLLAPSE = config(epochs=4, lr=3.0)  # with the seed 1: the same prediction for every row
ALL_ABOUT = " was trained again, with another seed and at half the rate: "


@pytest.mark.parametrize("draw", [classified, valued], ids=["classes", "values"])
def test_chance_is_no_fault_but_a_collapse_is(draw: Any) -> None:
    p_MNC, y_N = draw(skill=3.0) if draw is classified else draw()
    best, *_ = sorted(p_MNC, key=lambda p: float(abs(p - y_N).mean() if p.ndim == 1 else (p.argmax(1) != y_N).mean()))
    assert complaint(best, best, y_N, replaces=True) == ""
    rng = np.random.default_rng(0)
    other = best + 1e-2 * best.std() * rng.normal(size=best.shape)
    assert complaint(other, best, y_N, replaces=True) == ""
    same = np.broadcast_to(best.mean(0), best.shape)
    assert "it predicts the same for every row" in complaint(same, best, y_N)
    assert complaint(same, same, y_N) == "", "there is nothing to be learnt"
    assert "not finite" in complaint(np.where(rng.random(best.shape) < 0.01, np.nan, best), best, y_N)
    shuffled = best[rng.permutation(len(best))]
    assert "it is much worse: " in complaint(shuffled, best, y_N)


def names(members: list[FinalMember]) -> list[str]:
    return [member.name for member in members]


def test_a_member_that_collapses_is_left_out(training: Any, capsys: Any) -> None:
    made = training(table("regression"), best=GOOD)
    members = made.final_members([*(Member(GOOD, k) for k in range(3)), Member(COLLAPSE, 1)])
    assert names(members) == ["mine-0", "mine-1", "mine-2"]
    (note,) = made.notes
    assert note == "mine-3 is left out: it has collapsed: it predicts the same for every row"
    assert capsys.readouterr().out == f"{note}\n"


def test_what_is_much_worse_is_trained_again_at_half_the_rate(training: Any) -> None:
    made = training(table("regression"), best=GOOD)
    members = made.final_members([*(Member(GOOD, k) for k in range(3)), Member(CLIFF, 4)])
    assert names(members) == ["mine-0", "mine-1", "mine-2", "mine-3"]
    assert members[3].member.config.optimizer["lr"] == 0.15
    assert members[3].member.seed != 4
    (note,) = made.notes
    assert note.startswith(f"mine-3{ALL_ABOUT}it is much worse: RMSE ")
    again = training(table("regression"), "mine", best=GOOD)
    same = again.final_members([*(Member(GOOD, k) for k in range(3)), Member(CLIFF, 4)])
    assert all(np.array_equal(a.val_predictions, b.val_predictions) for a, b in zip(members, same, strict=True))


def test_the_best_trial_tells_where_a_whole_generation_collapses(training: Any) -> None:
    """The rate that a sweep chose may be a lucky point on a cliff: then its own net stays."""
    good = training(table("regression"), "good", best=GOOD)
    (trial,) = good.final_members([Member(GOOD, 0)])
    write_sweep(good.context.sweep, trial)
    made = training(table("regression"), best=COLLAPSE)
    members = made.final_members([Member(COLLAPSE, 1) for _ in range(3)])
    assert names(members) == ["top-7"]
    assert np.array_equal(members[0].val_predictions, trial.val_predictions)
    assert made.notes[-1] == "mine: no member is fit for use, so the best trial itself takes their place"


def write_sweep(folder: Path, trial: FinalMember) -> None:
    """What a sweep leaves of its best trial."""
    from safetensors.torch import save_file

    (folder / "weights").mkdir(exist_ok=True)
    save_file(trial.checkpoint.model_weights, folder / "weights" / "7.safetensors")
    np.savez(folder / "predictions.npz", **{"7": trial.val_predictions})
    line = {"number": 7, "epochs": 4, "weights": ["7.safetensors"], "config": trial.member.config.to_json()}
    (folder / "ranking.json").write_text(json.dumps([line]))


def test_a_refit_that_collapses_leaves_the_member_that_was_judged(training: Any) -> None:
    made = training(table("regression"), best=GOOD)
    judged = made.final_members([Member(GOOD, k) for k in range(2)])
    refit = training(table("regression"), "refit", best=GOOD)
    refit.replaced = {f"refit-{k}": member.val_predictions for k, member in enumerate(judged)}
    refits = refit.final_members([Member(GOOD, 0), Member(COLLAPSE, 1)])
    assert names(refits) == ["refit-0"]
    (note,) = refit.notes
    assert note.startswith("refit-1 is left out; the member that was judged stays: it has collapsed")
    refit.replaced |= {"refit-2": judged[0].val_predictions}
    assert refit.final_members([Member(COLLAPSE, 1)]) == [], "where none is fit for use, all that were judged stay"


def test_boosting_goes_on_from_the_last_sum_that_was_sound(training: Any) -> None:
    made = training(table("regression"), best=GOOD)
    keys: dict[str, Any] = {"shrinkage": 0.5, "epochs": 3, "model": {"width": 8, "depth": 1}}
    way = gradient_boosting(GOOD, 3, made.context, n=2, corrective_epochs=2, corrective_rate=300.0, **keys)
    (member,) = made.final_members(way)
    assert len(made.notes) == 2, "each corrective step"
    assert all("is left out: it is much worse: " in note for note in made.notes)
    alone = training(table("regression"), "alone", best=GOOD)
    way = gradient_boosting(GOOD, 3, alone.context, n=2, corrective_epochs=0, corrective_rate=1.0, **keys)
    (expected,) = alone.final_members(way)
    assert np.array_equal(member.val_predictions, expected.val_predictions)


def test_members_that_are_sound_are_trained_once(training: Any) -> None:
    made = training(table("regression"), best=GOOD)
    made.final_members(seeds(GOOD, 3, made.context, n=4))
    assert made.notes == []
    assert list(made.outcomes) == [f"mine-{k}" for k in range(4)]


# --- the stages --------------------------------------------------------------------------------------------------------

CLIFFED = """
from src.population.member import Member
from src.population.seeds import derived_seed

def cliffed(best, seed, context):
    refit = len(context.rows.x_train) > context.rows.meta.n_train
    wild = best.with_optimizer(lr=1e3)
    return [Member(wild if refit and k == 1 else best, derived_seed(seed, "seeds", k)) for k in range(3)]
"""


@pytest.fixture(scope="module")
def cliffed(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("cliffed"), prepared)
    place.run("n_trials=2", "epochs=3", "search=random", "workers=1")
    yield place
    end_all()


@pytest.mark.slow
def test_a_collapse_in_the_refit_is_said_and_not_served(cliffed: Place) -> None:
    (cliffed.folder / "mine.py").write_text(CLIFFED)
    group = cliffed.folder / "conf" / "members"
    group.mkdir(parents=True)
    (group / "cliffed.yaml").write_text("# @package _global_\nmembers: {name: cliffed, _target_: mine.cliffed}\n")
    words = ("--config-dir", "conf", "trusted=[mine]", "members=[cliffed]", "workers=1")
    out = cliffed.run(*words, verb="train").stdout
    content = json.loads((cliffed.folder / "outputs/train/mlp/members.json").read_text())
    assert [("refit" in line) for line in content["items"]] == [True, False, True]
    (note,) = content["notes"]
    assert note.startswith("cliffed-1 is left out; the member that was judged stays: ")
    assert note in out
    cliffed.run("models=[mlp]", "combiner=average", "baselines=[]", "export.pt2=false", verb="ensemble")
    metrics = json.loads((cliffed.folder / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > metrics["best_single"]["test"]["accuracy"] - 0.03
