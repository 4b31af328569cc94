"""Population-based training: who copies whom, what a copy may change, whose weights it has, and the schedule it finds."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.compose import CONF
from src.config.loading import load
from src.config.space import Dimension, Leaf, Space
from src.engine.task import Task
from src.engine.worker import train
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.search.points.mutation import neighbour
from src.search.protocol import Spec
from src.search.strategies.pbt import pbt
from src.search.strategies.random import random
from src.search.strategies.replay import replay
from src.study.history import Goals, History, Trial
from src.study.identity import Identity
from src.study.lineage import read, schedule, text
from src.study.study import Study
from src.study.timetable import Timetable
from src.sweeps.loop import slots
from src.sweeps.progress import Progress
from src.system.errors import UserError
from tests.support.running import Place, end_all, kill, wait_until
from tests.support.stored import SPEC, Stored, opened, table
from tests.support.sweeps import check_outputs, check_tracking
from tests.support.training import assert_same, config, digits, setup
from tests.support.virtual import BASE, EPOCHS, Sweep, conditional, fails, flat

INTERVAL = 4  # the last generation of 18 epochs is shorter
DEFAULTS: dict[str, Any] = {"interval": INTERVAL, "quantile": 0.25, "factor": 1.2, "resample": 0.25}


def spec(space: Space, n_trials: int = 16, seed: int = 0) -> Spec:
    return Spec(space, "minimize", n_trials, EPOCHS, seed)


def sweep(space: Space, n_trials: int = 16, seed: int = 0, **more: Any) -> Sweep:
    return Sweep(pbt(spec(space, n_trials, seed), **DEFAULTS), slots=more.pop("slots", n_trials), **more).run()


def children(history: History) -> list[tuple[Trial, Trial]]:
    """Each trial that has a parent, and its parent."""
    return [(trial, history.trials[trial.start_from[0]]) for trial in history.trials if trial.start_from]


@pytest.fixture(scope="module", autouse=True)
def conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


# --- who copies whom -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("space", "at_once"), list(product([flat, conditional], [16, 3, 1])))
def test_the_worst_quarter_ends_and_the_best_quarter_is_copied(space: Any, at_once: int) -> None:
    """However many train at once: every generation is ranked when all have come to its end."""
    history = sweep(space(), slots=at_once).history
    for epoch in range(INTERVAL, EPOCHS, INTERVAL):
        came = [t for t in history.trials if t.inherited < epoch <= t.epochs]
        assert len(came) == 16
        ranking = sorted(came, key=lambda t: (t.values[epoch - 1], t.number))
        assert {t.number for t in came if t.state == "pruned" and t.epochs == epoch} == {t.number for t in ranking[-4:]}
        copies = [(child, parent) for child, parent in children(history) if child.inherited == epoch]
        assert len(copies) == 4
        assert {parent.number for _, parent in copies} <= {t.number for t in ranking[:4]}
        for child, parent in copies:
            assert child.values[:epoch] == parent.values[:epoch]
    assert sum(t.epochs - t.inherited for t in history.trials) == 16 * EPOCHS
    assert len(list(history.of("complete"))) == 16
    assert slots("auto", 16, pbt(spec(flat()), **DEFAULTS)) == 16


def test_the_founders_are_the_points_of_random_search() -> None:
    trials_from_scratch = [t.params for t in sweep(conditional()).history.trials if not t.start_from]
    drawn = Sweep(random(spec(conditional()), pruner="none")).run()
    assert trials_from_scratch == [t.params for t in drawn.history.trials]


def test_what_fails_is_replaced_like_the_worst() -> None:
    history = sweep(flat(), fails=fails).history
    first = [t for t in history.trials if not t.start_from]
    failed = [t for t in first if t.state == "fail" and t.target == INTERVAL]
    ended = [t for t in first if t.epochs == INTERVAL and t.state == "pruned"]
    assert failed
    assert len(failed) + len(ended) == max(4, len(failed)) == sum(c.inherited == INTERVAL for c, _ in children(history))
    assert sum(t.epochs - t.inherited for t in history.trials) <= 16 * EPOCHS


@pytest.mark.parametrize("members", [1, 2, 3])
def test_few_members_are_no_harm(members: int) -> None:
    history = sweep(flat(), members).history
    assert len(list(history.of("complete"))) == members
    assert len(children(history)) == (0 if members == 1 else 4)


def test_a_study_that_grows_takes_in_new_founders() -> None:
    small = sweep(flat(), 8)
    large = small.rebuilt(pbt(spec(flat(), 12), **DEFAULTS), len(small.ops)).run()
    assert sum(not t.start_from for t in large.history.trials) == 12
    assert len(list(large.history.of("complete"))) == 12
    assert all(
        child.inherited == parent.values.index(child.values[child.inherited - 1]) + 1
        for child, parent in children(large.history)
    )


def test_progress_counts_members_not_generations() -> None:
    assert Progress("digits", 16, sweep(flat()).history).line().startswith("digits: 16/16 trials, 0 running")


# --- what a copy may change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["choose={optimizer: [sgd, adamw], schedule: [constant, cosine]}"],
        ["model=cnn", "optimizer=sgd"],
        ["model=linear"],
    ],
)
def test_a_copy_can_go_on_with_its_parents_weights_and_data(words: list[str]) -> None:
    """Said by the engine: members of one signature have equal tensors. And whatever may change does."""
    more = ["+space.training.label_smoothing={type: float, low: 0.01, high: 0.2}"]
    space = load([*words, *more]).space
    changed, every = set(), set()
    for child, parent in [pair for seed in range(5) for pair in children(sweep(space, 24, seed).history)]:
        ours, theirs = (Member(space.trial(t.params), 0).signature() for t in (child, parent))
        assert ours == theirs
        leaf = space.leaf(child.params)
        every |= {dimension.key for dimension in leaf.dimensions.values()}
        changed |= {leaf.dimensions[n].key for n, v in child.params.items() if v != parent.params[n]}
    structural = {"batch_size", "model.width", "model.depth", "model.channels", "model.activation", "model.norm"}
    assert changed == every - structural


@pytest.mark.parametrize(
    ("distribution", "value", "up", "down"),
    [
        (FloatDistribution(1e-4, 1.0, log=True), 0.1, 0.12, 0.1 / 1.2),
        (FloatDistribution(0.0, 1.0), 0.95, 1.0, 0.95 / 1.2),
        (FloatDistribution(-1.0, 1.0), -0.5, -0.6, -0.5 / 1.2),
        (FloatDistribution(0.0, 0.3, step=0.1), 0.2, 0.3, 0.1),
        (FloatDistribution(0.0, 0.3, step=0.1), 0.3, 0.3, 0.2),
        (IntDistribution(32, 96, step=32), 64, 96, 32),
        (IntDistribution(1, 1000, log=True), 100, 120, 83),
        (IntDistribution(1, 1000, log=True), 2, 3, 1),
        (CategoricalDistribution([32, None, "64"]), None, "64", 32),
        (CategoricalDistribution([32, None, "64"]), 32, None, 32),
    ],
)
def test_a_neighbour_is_a_factor_or_a_step_away_and_within_bounds(
    distribution: BaseDistribution, value: Any, up: Any, down: Any
) -> None:
    for wanted, way in ((up, True), (down, False)):
        found = neighbour(distribution, value, 1.2, way)
        assert type(found) is type(wanted)
        assert found == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)


def test_numbers_change_by_the_factor_unless_drawn_anew() -> None:
    for resample, share in ((0.0, 0.0), (1.0, 1.0), (0.25, 0.25)):
        options = DEFAULTS | {"resample": resample, "factor": 1.5, "interval": 1}
        space = Space(Leaf(BASE, {"lr": Dimension("optimizer.lr", FloatDistribution(1e-200, 1e200, log=True))}))
        pairs = children(Sweep(pbt(spec(space, 64), **options), slots=64).run().history)
        ratios = [c.params["lr"] / p.params["lr"] for c, p in pairs]
        other = sum(not any(r == pytest.approx(f) for f in (1.5, 1 / 1.5)) for r in ratios)
        assert other / len(ratios) == pytest.approx(share, abs=0.1)
        near = [r > 1 for r in ratios if 0.6 < r < 1.6]
        assert share == 1.0 or 0.35 < sum(near) / len(near) < 0.65


def test_a_space_with_nothing_to_change_is_refused() -> None:
    names = ("model.width", "batch_size", "optimizer.name", "model.dropout_rate")
    fixed = Space(Leaf(BASE, {n: Dimension(n, IntDistribution(1, 9)) for n in names}))
    with pytest.raises(
        UserError, match=r"^search: pbt has nothing to change in mid-training; give space a dimension of"
    ):
        pbt(spec(fixed), **DEFAULTS)


# --- the study -------------------------------------------------------------------------------------------------------


def stored(folder: Path, url: str | None = None) -> Stored:
    live = Stored(opened(folder, url))
    live.search = pbt(replace(SPEC, n_trials=12), **DEFAULTS)
    live.slots = live.timetable.slots = 7
    return live


@pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlalchemy", "ignore::ResourceWarning")
@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_study_with_lineages_reopened_is_the_same(tmp_path: Path, storage: str) -> None:
    """Also for Optuna: a copy has its parent's values from the first epoch on."""
    url = f"sqlite:///{tmp_path}/optuna.db" if storage == "sqlite" else None
    live = stored(tmp_path, url)
    live.fill()
    while live.step():
        if len(live.history.events) % 15 == 0:
            again = opened(tmp_path, url)
            assert again.history == live.history
            assert again.curves == live.study.curves
            times = [Timetable(history, 7) for history in (again.history, live.history)]
            assert times[0].running == times[1].running == live.timetable.running
    assert children(live.history)
    for trial, theirs in zip(live.history.trials, live.study.storage.get_all_trials(live.study.id), strict=True):
        assert theirs.intermediate_values == dict(enumerate(trial.values, start=1))
        assert live.study.curves[trial.number]["loss"] == trial.values


def test_torn_in_any_record_it_comes_to_the_same_end(tmp_path: Path) -> None:
    whole = stored(tmp_path / "whole")
    whole.fill()
    while whole.step():
        pass
    journal = whole.study.folder / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    for cut in range(12, len(lines), 37):
        folder = tmp_path / str(cut)
        torn = folder / journal.relative_to(tmp_path / "whole")
        torn.parent.mkdir(parents=True)
        torn.write_bytes(b"".join(lines[:cut]) + lines[cut][:20])
        again = stored(folder)
        again.fill()
        while again.step():
            pass
        assert table(again.history) == table(whole.history)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_whatever_of_a_lineage_is_lost_the_bits_are_the_same(tmp_path: Path) -> None:
    line: list[Task] = []
    where = setup(digits(), tmp_path)
    for k, stop in enumerate((1, 3, 4)):
        member = Member(config(lr=10 ** (-2 - k / 2), dropout=0.1 * k), k)
        line.append(Task(f"t{k}", member, stop, None, tmp_path / f"t{k}", lineage=tuple(line)))
        (outcome,) = train(line[-1:], where)
    wanted, curves = Checkpoint.load(line[-1].checkpoint), outcome.curves
    assert {len(curve) for curve in curves.values()} == {4}
    for gone in ((0,), (1,), (0, 1)):
        for place in gone:
            if place == 1:
                line[place].checkpoint.write_bytes(b"torn")
            else:
                line[place].checkpoint.unlink()
        again = replace(line[-1], checkpoint=tmp_path / f"again-{len(gone)}-{gone[0]}")
        (outcome,) = train([again], where)
        assert outcome.curves == curves
        assert_same(Checkpoint.load(again.checkpoint), wanted)
        for task in line[:2]:
            train([task], where)


PBT = ("search=pbt", "n_trials=6", "epochs=6", "search.interval=2", "search.quantile=0.5", "seed=2", "model.depth=1")


@pytest.mark.slow
def test_a_population_killed_and_robbed_comes_to_the_same_end_and_its_schedule_is_followed(tmp_path: Path) -> None:
    whole, killed = Place(tmp_path / "whole"), Place(tmp_path / "killed")
    whole.run(verb="prepare")
    (killed.folder / "data").symlink_to(whole.folder / "data")
    try:
        whole.run(*PBT, "workers=2")
        for count in (1, 9):
            process = killed.start(*PBT, "workers=1")
            assert wait_until(lambda count=count: killed.events() >= count, process)
            kill(process)
            for checkpoint in killed.studies[0].glob("checkpoints/*"):
                checkpoint.unlink()
        killed.run(*PBT, "workers=1")
        for name in ("trials.csv", "curves.csv", "best.yaml", "summary.json", "predictions.npz"):
            assert (whole.out / name).read_bytes() == (killed.out / name).read_bytes(), name
        for place in (whole, killed):
            check_outputs(place)
            check_tracking(place)
            rows = {int(row["number"]): row for row in place.rows()}
            kept = {path.stem for path in place.studies[0].glob("checkpoints/*")}
            assert kept == {f"{number}-6" for number, row in rows.items() if row["state"] == "complete"}
        assert {row["parent"].partition("@")[2] for row in rows.values()} == {"", "2", "4"}
        follow(whole)
    finally:
        end_all()


def follow(place: Place) -> None:
    """The schedule of the best, replayed and trained to final members."""
    rows, best = place.rows(), yaml.safe_load((place.out / "best.yaml").read_text())
    line = [json.loads((place.out / "summary.json").read_text())["best_number"]]
    while parent := rows[line[0]]["parent"]:
        line.insert(0, int(parent.partition("@")[0]))
    assert [part["config"]["optimizer"]["lr"] for part in best["earlier"]] + [best["optimizer"]["lr"]] == [
        float(rows[number]["params.optimizer.lr"]) for number in line
    ]
    name, path = place.studies[0].name, place.out / "schedule.json"
    parts = json.loads(path.read_text())
    assert [part["params"]["optimizer.lr"] for part in parts] == [float(rows[n]["params.optimizer.lr"]) for n in line]
    place.run(verb="train")
    members = json.loads((place.folder / "outputs/train/mlp/members.json").read_text())["items"]
    assert len({member["val"]["nll"] for member in members}) == len(members)

    words = ("search=replay", "n_trials=2", "epochs=6", "model.depth=1")
    place.run(*words, f"replay.study={name}")
    table, states = place.trials, [row["state"] for row in place.rows()]
    assert states.count("complete") == 2
    assert len(states) == 2 * len(parts)
    place.run(*words, f"replay.study={path}")
    assert place.trials == table, "one study: what counts is the schedule"
    assert len(place.studies) == 2
    check_outputs(place)


# --- replay ----------------------------------------------------------------------------------------------------------

PARTS = [(4, {"x": 0.5}), (10, {"x": 0.7}), (EPOCHS, {"x": 0.1})]
LINE = Space(Leaf(BASE, {"x": Dimension("optimizer.lr", FloatDistribution(0.0, 1.0))}))


def follower(parts: Any = PARTS, space: Space = LINE, n_trials: int = 3) -> Any:
    return replay(replace(spec(space, n_trials), schedule=parts))


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_members_follow_the_schedule(at_once: int) -> None:
    """Whatever part of the history another process finds, or of a batch a crash lets through."""
    live = Sweep(follower(), slots=at_once).run()
    for trial in live.history.of("complete"):
        line = live.history.lineage(trial)
        assert [(until, dict(t.params)) for t, until in line] == PARTS
    assert len(list(live.history.of("complete"))) == 3
    assert len(live.history.trials) == 9
    assert live.search.done(live.history)
    for count in range(len(live.ops) + 1):
        again = live.rebuilt(follower(), count)
        again.fill()
        if again.timetable.running:
            again.report()
        assert again.ops == live.ops[: len(again.ops)], f"after {count} changes"
    large = live.rebuilt(follower(n_trials=5), len(live.ops)).run()
    assert len(list(large.history.of("complete"))) == 5


def test_a_replay_that_fails_ends() -> None:
    live = Sweep(follower(), fails=lambda params: params["x"] == 0.7).run()
    assert [t.state for t in live.history.trials] == ["pruned"] * 3 + ["fail"] * 3
    assert live.search.done(live.history)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "replay.study: name a finished study"),
        ([(9, {"x": 0.5})], "epochs: the schedule of replay.study is of 9 epochs, not of 18"),
        ([(18, {"y": 0.5})], r"replay.study: its schedule does not fit this space \(x\)"),
        ([(18, {"x": 0.5, "y": 1})], r"replay.study: its schedule does not fit this space \(y\)"),
        ([(18, {"x": 1.5})], r"replay.study: its schedule does not fit this space \(x\)"),
        ([(18, {"x": "a"})], "replay.study: its schedule does not fit this space"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused(parts: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        follower(parts)
    assert "\n" not in str(refused.value)


def test_a_schedule_is_read_as_it_was_written(tmp_path: Path) -> None:
    live = stored(tmp_path)
    live.fill()
    with pytest.raises(UserError, match=rf"replay.study: {live.study.name} is not finished"):
        read(tmp_path, None, live.study.name)
    while live.step():
        pass
    live.study.finish(True)
    found = schedule(live.history)
    assert [until for until, _ in found] == sorted({until for until, _ in found})
    path = tmp_path / "schedule.json"
    path.write_text(text(found))
    assert read(tmp_path, None, str(path)) == read(tmp_path, None, live.study.name) == found


@pytest.mark.parametrize(
    ("wanted", "content", "message"),
    [
        ("nowhere", None, "replay.study: 'nowhere' is none of "),
        ("gone.json", None, "gone.json cannot be read"),
        ("bad.json", "{", "bad.json is no schedule"),
        ("bad.json", "[{}]", "bad.json is no schedule"),
        ("bad.json", "[]", "has a gap"),
        ("bad.json", '[{"from": 1, "to": 2, "params": {}}]', "has a gap"),
        ("bad.json", '[{"from": 0, "to": 2, "params": {}}, {"from": 3, "to": 4, "params": {}}]', "has a gap"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path: Path, wanted: str, content: str | None, message: str) -> None:
    if content:
        (tmp_path / wanted).write_text(content)
    with pytest.raises(UserError, match=message) as refused:
        read(tmp_path, None, str(tmp_path / wanted) if wanted.endswith("json") else wanted)
    assert "\n" not in str(refused.value)


def test_of_several_objectives_there_is_no_schedule_of_the_best(tmp_path: Path) -> None:
    identity, goals = Identity("mine", "inputs", {}), Goals(("parameters",), {})
    study = Study.open(tmp_path, None, identity, "minimize", {"slots": 1, "metric": "loss"}, goals=goals)
    study.finish(True)
    with pytest.raises(UserError, match=r"^replay.study: mine-\S+ has several objectives"):
        read(tmp_path, None, study.name)


def test_only_a_replay_names_a_study() -> None:
    with pytest.raises(UserError, match=r"replay\.study: no such key"):
        load(["search=random", "++replay.study=x"])
    assert load(["search=replay", "++replay.study=x"])["replay"] == {"study": "x"}
