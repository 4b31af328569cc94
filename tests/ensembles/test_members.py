"""Ways to make members: each item is what its method says, whatever its company and however often killed."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load as loads
from safetensors.torch import load_file

from src.data.dataset import load, train_targets, val_targets
from src.engine.engine import Engine
from src.engine.fusing import rows
from src.ensembles.final_member import FinalMember, out_of_fold_mean
from src.ensembles.member_training import MemberTraining
from src.ensembles.members.bagging import bagging
from src.ensembles.members.folds import folds
from src.ensembles.members.seeds import seeds
from src.ensembles.protocol import Generations, TrainingContext
from src.metrics.scoring import score
from src.population.member import Member
from src.population.rows import Rows
from src.system.errors import UserError
from src.system.mirror import Mirror
from src.system.trial_config import TrialConfig
from tests.support.running import Place, end_all, kill, wait_until
from tests.support.training import assert_same, config, digits, setup, table, trained

BEST = config(epochs=3, dropout=0.1)
CASES = {"classification": digits, "regression": lambda: table("regression")}


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Callable[..., MemberTraining]]:
    """Makes a `MemberTraining` on an engine of one thread of this process."""
    with ThreadPoolExecutor(1) as executor:

        def made(data: Rows, how: str = "mine", best: Any = BEST, **more: Any) -> MemberTraining:
            meta = replace(data.meta, class_names=[str(k) for k in range(data.meta.n_classes)])
            folder = tmp_path / meta.task
            folder.mkdir(exist_ok=True)
            here = setup(replace(data, meta=meta), folder)
            context = TrainingContext(rows(here), train_targets(folder), val_targets(folder), folder)
            return MemberTraining(how, Engine(here, 1, executor), context, Mirror(folder / how), best, **more)

        yield made


def rows_of(held_NC: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rows that have a prediction."""
    there = np.isfinite(held_NC.reshape(len(held_NC), -1))
    assert (there.all(1) == there.any(1)).all()
    return np.flatnonzero(there.all(1))


def assert_alone(item: FinalMember, data: Rows) -> None:
    """Its weights are those of the member trained by itself."""
    assert_same(item.checkpoint, trained([item.member], data, item.member.config.epochs)[0])


# --- parallel ones -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("bootstrap", ["rows", "weights"])
def test_bagged_members_predict_the_rows_out_of_their_bags(task: str, bootstrap: Any, training: Any) -> None:
    made = training(CASES[task]())
    data = made.context.rows
    items = made.final_members(bagging(BEST, 3, made.context, n=6, bootstrap=bootstrap))
    assert len({item.member.seed for item in items}) == 6
    assert len({item.member.signature() for item in items}) == 1, "one population"
    for item in items:
        member, out = item.member, rows_of(item.out_of_fold_predictions)
        if bootstrap == "rows":
            assert len(member.rows) == 420
            assert set(out) == set(range(420)) - set(member.rows)
        else:
            assert member.weights.sum() == 420
            assert set(out) == set(np.flatnonzero(member.weights == 0))
        assert len(out) / 420 == pytest.approx(np.exp(-1), abs=0.07)  # (1 − 1/n)ⁿ
        assert np.allclose(item.out_of_fold_predictions[out], item.predict(data.x_train)[out], atol=1e-6)
    assert_alone(items[4], data)
    mean = out_of_fold_mean([item.out_of_fold_predictions for item in items])
    by_hand = np.nanmean(np.stack([item.out_of_fold_predictions for item in items])[:, rows_of(mean)], 0)
    assert np.allclose(mean[rows_of(mean)], by_hand, atol=1e-6)


@pytest.mark.parametrize("task", CASES)
def test_the_committee_predicts_every_row_once_by_a_member_that_has_not_seen_it(task: str, training: Any) -> None:
    made = training(CASES[task]())
    data = made.context.rows
    items = made.final_members(folds(BEST, 3, made.context, n=5))
    held = [rows_of(item.out_of_fold_predictions) for item in items]
    assert sorted(np.concatenate(held)) == list(range(420))
    for item, out in zip(items, held, strict=True):
        assert sorted([*item.member.rows, *out]) == list(range(420))
    assert_alone(items[2], data)
    assert len(rows_of(out_of_fold_mean([item.out_of_fold_predictions for item in items]))) == 420


def test_predictions_are_those_of_the_engine(training: Any) -> None:
    for data in (digits(), table("regression")):
        made = training(data)
        data = made.context.rows
        (item,) = made.final_members(seeds(BEST, 3, made.context, n=1))
        assert np.array_equal(item.predict(data.x_val), item.checkpoint.predictions.numpy())
        task = data.meta.task
        by = "val/accuracy" if task == "classification" else "val/rmse"
        found = score(task, item.predict(data.x_val), made.context.y_val)
        assert found[by.removeprefix("val/")] == pytest.approx(item.checkpoint.curves[by][-1], rel=1e-5)


def test_a_member_that_fails_is_left_out_and_all_that_fail_are_one_sentence(training: Any, capsys: Any) -> None:
    def wild(k: int, lr: float) -> Member:
        return Member(config(epochs=2, lr=lr), k)

    made = training(digits())
    items = made.final_members([wild(0, 1e-3), wild(1, 1e30), wild(2, 1e-3)])
    assert [item.name for item in items] == ["mine-0", "mine-2"]
    assert capsys.readouterr().out == "mine-1 is left out: diverged\n"
    with pytest.raises(UserError, match=r"^members: all 2 members of mine failed: diverged$"):
        made.final_members([wild(k, 1e30) for k in range(2)])


def test_what_is_made_one_after_another_ends_where_one_fails(training: Any, capsys: Any) -> None:
    made = training(digits())

    def two_good_and_a_wild_one() -> Generations:
        items = []
        for k, lr in enumerate((1e-3, 1e-3, 1e30, 1e-3)):
            trained = yield [Member(config(epochs=2, lr=lr), k)]
            if not trained:
                break
            items += trained
        return items

    assert [item.name for item in made.final_members(two_good_and_a_wild_one())] == ["mine-0", "mine-1"]
    assert capsys.readouterr().out == "mine-2 is left out: diverged\n"


def test_members_follow_the_lineage_of_the_best_trial(training: Any) -> None:
    earlier = [(1, config(epochs=3, lr=0.01)), (2, config(epochs=3, lr=0.02))]
    made = training(digits(), earlier=earlier)
    items = made.final_members(bagging(BEST, 3, made.context, n=2, bootstrap="rows"))
    state = None
    for until, part in [*earlier, (3, BEST)]:
        member = replace(items[1].member, config=part)
        (state,) = trained([member], digits(), 1, [state])
        assert state.epoch == until
    assert_same(items[1].checkpoint, state)


# --- the stage ---------------------------------------------------------------------------------------------------------

WAYS = ("members=[top,seeds,bagging,folds]", "members.n=2")
ALL = (
    "members=[top,bagging,adaboost,snapshot,gradient_boosting,tabm]",
    "members.n=2",
    "members.cycles=3",
    "members.k=4",
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("swept"), prepared)
    place.run("n_trials=5", "epochs=3", "search=random", "workers=2")
    yield place
    end_all()


def lines(place: Place) -> dict[str, Any]:
    found = json.loads((place.folder / "outputs/train/mlp/members.json").read_text())
    return {item["name"]: item for item in found["items"]}


def files(place: Place) -> dict[str, bytes]:
    folder = place.folder / "outputs" / "train"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_several_ways_stand_side_by_side_and_the_top_is_of_the_sweep(swept: Place) -> None:
    out = swept.run(*WAYS, verb="train").stdout
    assert "folds, on training rows not seen: accuracy" in out
    found, sweep = lines(swept), swept.out
    assert [item["members"] for item in found.values()] == [
        w for w in ("top", "seeds", "bagging", "folds") for _ in "ab"
    ]
    ranked = sorted((-float(row["value"]), int(row["number"])) for row in swept.rows() if row["state"] == "complete")
    if json.loads((sweep / "summary.json").read_text())["direction"] == "minimize":
        ranked = sorted((-value, number) for value, number in ranked)
    assert [f"top-{number}" for _, number in ranked[:2]] == [name for name in found if name.startswith("top")]
    folder = swept.folder / "outputs/train/mlp"
    with np.load(sweep / "predictions.npz") as predictions:
        for _, number in ranked[:2]:
            line = found[f"top-{number}"]
            assert np.array_equal(np.load(folder / line["predictions"]), predictions[str(number)])
            weights, theirs = (
                load_file(folder / line["weights"]),
                load_file(sweep / "weights" / f"{number}.safetensors"),
            )
            assert all(np.array_equal(weights[name], theirs[name]) for name in theirs)
    held = np.load(folder / found["folds-1"]["held"])
    assert held.shape == (1077, 10)
    assert {name for name, line in found.items() if line.get("refit")} == {n for n in found if not n.startswith("top")}
    states = swept.query("select name, status from runs where name like 'mlp %-%' order by name")
    assert [(f"mlp {name}", "FINISHED") for name in sorted(found)] == states


@pytest.mark.slow
def test_killed_and_started_again_it_leaves_the_same_files(swept: Place, tmp_path: Path) -> None:
    swept.run(*ALL, verb="train")
    killed = Place(tmp_path, swept.folder / "data" / "prepared")
    (killed.folder / "outputs").mkdir()
    (killed.folder / "outputs" / "sweep").symlink_to(swept.folder / "outputs" / "sweep")
    kept = killed.folder / ".lockstep" / "members"
    for count in (1, 9):
        process = killed.start(*ALL, "workers=1", verb="train")
        assert wait_until(lambda count=count: len(list(kept.glob("*/[a-z]*.safetensors"))) >= count, process)
        kill(process)
    killed.run(*ALL, "workers=1", verb="train")
    assert files(killed) == files(swept)


@pytest.mark.slow
def test_once_judged_the_members_learn_from_the_validation_rows_too(swept: Place) -> None:
    made = []
    for refit in ("true", "false"):
        swept.run("members=seeds", "members.n=2", f"refit={refit}", verb="train")
        made.append(files(swept))
    again, judged = made
    assert all(again[name] == content for name, content in judged.items() if name.endswith((".npy", ".safetensors")))
    data, best = (
        load(swept.folder / "data/prepared/digits"),
        TrialConfig.from_json(yaml.safe_load(judged["mlp/config.yaml"])),
    )
    x, y = (np.concatenate(pair) for pair in ((data.x_train, data.x_val), (data.y_train, data.y_val)))
    whole = Rows(data.meta, *map(torch.from_numpy, (x, y, data.x_val, data.y_val)))
    part = replace(whole, x_train=torch.from_numpy(data.x_train), y_train=torch.from_numpy(data.y_train))
    for rows_, file in (
        (whole, again["mlp/seeds-0/refit-weights.safetensors"]),
        (part, judged["mlp/seeds-0/weights.safetensors"]),
    ):
        (member,) = seeds(best, 0, TrainingContext(rows_, y, data.y_val, swept.out), n=1)
        (state,) = trained([member], rows_, best.epochs)
        weights = loads(file)
        assert all(torch.equal(weights[name], value) for name, value in state.model_weights.items())


@pytest.mark.slow
def test_members_whose_schedule_watches_the_validation_rows_do_not_learn_from_them(
    tmp_path: Path, prepared: Path
) -> None:
    place = Place(tmp_path, prepared)
    place.run("n_trials=2", "epochs=2", "search=random", "schedule=plateau")
    place.run("members.n=2", "schedule=plateau", verb="train")
    assert not any("refit" in line for line in lines(place).values())


def test_refits_of_members_that_stopped_early_train_as_long_as_these_were_good(
    training: Callable[..., MemberTraining],
) -> None:
    """The validation rows, which refits learn from, cannot tell them when to stop."""
    best = config(epochs=6, early_stopping={"patience": 1})
    refit = training(digits(200), "seeds", best, epochs={"seeds-0": 2, "seeds-1": 9, "other": 4})
    trained_members = refit.final_members([Member(best, seed) for seed in range(3)])
    assert [refit.outcomes[f"seeds-{k}"].epochs for k in range(3)] == [2, 6, 4], "its own, at most all, or the median"
    for one in trained_members:
        assert one.member.config.training.early_stopping.patience is None
        assert one.member.config.epochs == 6, "the schedule is that of the whole training"


MINE = """
from dataclasses import replace
from typing import Annotated
from pydantic import Field
from src.population.member import Member
from src.population.seeds import derived_seed

def strongest(best, seed, context, *, tries: Annotated[int, Field(gt=1)]):
    trained = yield [Member(best, derived_seed(seed, "tries", k)) for k in range(tries)]
    strongest = max(trained, key=lambda one: one.checkpoint.curves["val/accuracy"][-1])
    return [replace(strongest, weight=2.0)]
"""


@pytest.mark.slow
def test_a_way_of_ones_own_is_one_function_and_one_yaml(swept: Place) -> None:
    (swept.folder / "mine.py").write_text(MINE)
    group = swept.folder / "conf" / "members"
    group.mkdir(parents=True, exist_ok=True)
    text = "# @package _global_\nmembers: {name: strongest, _target_: mine.strongest, tries: 3}\n"
    (group / "strongest.yaml").write_text(text)
    words = ("--config-dir", "conf", "trusted=[mine]", "members=[strongest]")
    swept.run(*words, verb="train")
    (line,) = lines(swept).values()
    assert (line["members"], line["weight"]) == ("strongest", 2.0)
    assert (
        "members.tries: should be greater than 1" in swept.run(*words, "members.tries=1", verb="train", ok=False).stderr
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["members=[seeds,sedes]"], "members: 'sedes' is none of "),
        (["members=batch_ensemble"], "members: batch_ensemble is an option no more; use members=tabm members.kind="),
        (["members=[seeds,seeds]"], "members: name one or a list of "),
        (["members=top", "members.n=9"], "members.n: 9 is more than the 5 complete trials of "),
        (["members=folds", "members.n=400"], "members.n: 400 is more than the "),
        (["members=folds", "members.n=1"], "members.n: should be greater than or equal to 2"),
        (["members=bagging", "members.bootstrap=columns"], "members.bootstrap: should be 'rows' or 'weights'"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_made_is_one_sentence(words: list[str], sentence: str, swept: Place) -> None:
    failed = swept.run(*words, ok=False, verb="train").stderr.strip()
    assert failed.startswith(f"error: {sentence}"), failed
    assert "\n" not in failed
