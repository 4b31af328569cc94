"""Several objectives and constraints: the front, what is never trained, and the same table whatever happened on the way."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution
from torch import nn

from src.config.components import make
from src.config.space import Dimension, Leaf, Space
from src.engine.cost import measures
from src.engine.latency import latency_ms
from src.search.proposing.terminator import terminated
from src.search.protocol import Spec
from src.study.history import Goals, History, Proposal
from src.study.study import Study
from src.sweeps.objectives import objectives
from src.system.errors import UserError
from tests.search.test_strategies import SEARCHES, SPACES, section
from tests.support.metas import data_meta
from tests.support.running import Place, end_all, kill, wait_until
from tests.support.stored import CHOICES, identity
from tests.support.training import config
from tests.support.virtual import BASE, EPOCHS, SEVERAL, Sweep, fails, flat, size

# --- the front -------------------------------------------------------------------------------------------------------


def history(points: list[tuple[float, ...]], direction: Any = "minimize", **bounds: float) -> History:
    """Complete trials with these objectives: the value, then a, b, ..."""
    names = tuple("abc"[: len(points[0]) - 1])
    found = History(direction, goals=Goals(names, bounds))
    for number, (value, *rest) in enumerate(points):
        found.start(Proposal({}, 1), 1, 1.0, dict(zip(names, rest, strict=True)))
        found.report(number, [value], "complete")
    return found


def test_the_front_of_points_on_a_line_is_all_of_them_and_of_points_behind_it_none() -> None:
    line = [(k / 10, 1 - k / 10) for k in range(11)]
    behind = [(x + 0.01, y + 0.01) for x, y in line]
    found = history([*behind, *line])
    assert [found.losses(t) for t in found.front] == line
    assert found.best is found.front[0]


def test_equal_trials_share_the_front_and_the_first_of_equal_values_with_the_smaller_measure_is_best() -> None:
    found = history([(1.0, 5.0), (1.0, 3.0), (1.0, 3.0), (2.0, 3.0)])
    assert [t.number for t in found.front] == [1, 2]
    assert found.best
    assert found.best.number == 1


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_front_and_the_best_are_those_of_optuna_and_constraints_count(direction: Any, tmp_path: Path) -> None:
    """In the stored study, as its dashboard reads it."""
    rng, goals = np.random.default_rng(0), Goals(("a", "b"), {"a": 0.8, "c": 0.5})
    study = Study.open(tmp_path, None, identity(), direction, CHOICES, goals=goals)
    x = FloatDistribution(0, 1)
    for number in range(60):
        a, b, c, value = rng.integers(0, 5, 4) / 4
        study.start(Proposal({"x": 0.5}, 1), {"x": x}, 1, 1.0, {"a": float(a)})
        study.report(number, [float(value)], {}, "complete", measures={"b": float(b), "c": float(c)})
    theirs = optuna.load_study(study_name=study.name, storage=study.storage)
    assert {t.number for t in study.history.front} == {t.number for t in theirs.best_trials}
    assert 0 < len(study.history.feasible) < 60
    assert [d.name.lower() for d in theirs.directions] == [direction, "minimize", "minimize"]
    assert theirs.metric_names == ["loss", "a", "b"]
    assert all(t.measures["a"] <= 0.8 and t.measures["c"] <= 0.5 for t in study.history.front)
    again = Study.open(tmp_path, None, identity(), direction, CHOICES, goals=goals)
    assert again.history == study.history


def test_a_kill_between_the_event_and_optunas_own_end_of_a_trial_loses_nothing(tmp_path: Path) -> None:
    goals = Goals(("a",), {"c": 0.5})

    def opened() -> Study:
        return Study.open(tmp_path, None, identity(), "minimize", CHOICES, goals=goals)

    study = opened()
    study.start(Proposal({}, 1), {}, 1, 1.0, {"a": 3.0})
    event = {"report": [0.25], "curves": {}, "state": "complete", "reason": "", "seconds": 1.0, "measures": {"c": 1.0}}
    study.storage.set_trial_intermediate_value(study._ids[0], 1, 0.25)
    study.storage.set_trial_user_attr(study._ids[0], "event:1", event)
    again = opened()
    (trial,) = optuna.load_study(study_name=study.name, storage=again.storage).trials
    assert (trial.values, trial.constraints) == ([0.25, 3.0], {"c": 1.0})
    assert again.history.trials[0].measures == {"a": 3.0, "c": 1.0}
    assert again.history.best is None


# --- names -----------------------------------------------------------------------------------------------------------


def test_what_the_names_mean() -> None:
    found = objectives(["val/error", "parameters"], {"val/loss": 0.5, "val/error": 0.05}, "classification")
    assert (found.metric, found.direction) == ("val/accuracy", "maximize")
    assert found.goals == Goals(("parameters",), {"val/loss": 0.5, "val/error": 0.05})
    measures = found.measured({"val/accuracy": [0.1, 0.95], "val/loss": [2.0, 0.25], "lr": [1.0]}, None)
    assert measures == {"val/loss": 0.25, "val/error": 0.05}
    assert found.goals.allow(measures | {"parameters": 7.0}), "1 - 0.95 in floating point is above 0.05"
    other = objectives(["val/loss", "val/error", "latency_ms"], {}, "regression")
    assert (other.metric, other.direction) == ("val/loss", "minimize")
    assert other.measured({"val/rmse": [3.0], "val/loss": [1.0]}, 0.5) == {"val/error": 3.0, "latency_ms": 0.5}
    alone = objectives(None, {}, "regression")
    assert (alone.metric, alone.direction, alone.goals) == ("val/rmse", "minimize", Goals())


@pytest.mark.parametrize(
    ("names", "bounds", "sentence"),
    [
        ([], {}, "objective.minimize: name at least one"),
        (["val/loss", "val/accuracy"], {}, "objective.minimize: all are to be minimized, so say val/error"),
        (None, {"val/accuracy": 0.9}, "objective.constraints: all are to be minimized, so say val/error"),
        (
            ["val/loss", "val/macro_f1"],
            {},
            "objective.minimize: val/macro_f1 is better when higher, so it can only be the first",
        ),
        (["val/macro_f2"], {}, "objective.minimize: 'val/macro_f2' is none of .*did you mean val/macro_f1"),
        (["val/eror"], {}, "objective.minimize: 'val/eror' is none of .*did you mean val/error"),
        (["val/rmse"], {}, "objective.minimize: 'val/rmse' is none of"),
        (["parameters", "val/error"], {}, "objective.minimize: the first must be a curve .* not parameters"),
        (["val/error", "parameters", "parameters"], {}, "objective.minimize: parameters stands twice"),
        (None, {"weights": 3.0}, "objective.constraints: 'weights' is none of"),
    ],
)
def test_names_that_mean_nothing_are_refused(names: list[str] | None, bounds: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        objectives(names, bounds, "classification")
    assert "\n" not in str(refused.value)


def test_a_metric_is_optimized_in_its_own_direction() -> None:
    higher = objectives(["val/roc_auc", "parameters"], {"val/brier": 0.5}, "classification")
    assert (higher.metric, higher.direction) == ("val/roc_auc", "maximize")
    assert higher.metrics == ("roc_auc", "brier"), "whose curves nobody else computes"
    assert objectives(["val/accuracy"], {}, "classification") == objectives(None, {}, "classification")
    lower = objectives(["val/mae"], {}, "regression")
    assert (lower.metric, lower.direction, lower.metrics) == ("val/mae", "minimize", ())
    assert objectives(["val/r2"], {}, "regression").direction == "maximize"
    assert "undefined" in higher.undefined([0.5, float("nan")])
    assert higher.undefined([0.5, 0.6]) == ""


def test_parameters_and_operations_of_a_linear_layer() -> None:
    meta = data_meta(8, n_classes=3)
    found = measures(config("linear"), meta)
    assert found == {"parameters": 8 * 3 + 3, "operations": 8 * 3}


class Slow(nn.Module):
    """Takes 5 ms a pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.005)
        return x


def test_the_latency_is_that_of_one_pass_of_one_row() -> None:
    rows = torch.zeros(4, 8)
    assert 5.0 <= latency_ms(Slow(), rows[:1]) < 50.0


# --- the contract of every strategy for several ----------------------------------------------------------------------

BOUND = Goals(("size",), {"size": 32.0})
SMALL = 14


def several(name: str, space: str, pruner: str = "none", n_trials: int = SMALL, goals: Goals = BOUND) -> Any:
    """The strategy with two objectives of which one has a bound, or None where it refuses several."""
    options = section(name) | ({"pruner": pruner} if "pruner" in section(name) else {})
    for continuous in (True, False):
        spec = Spec(SPACES[space](continuous), "minimize", n_trials, EPOCHS, 0, goals=goals, measure=size)
        try:
            return make("search", options, spec)
        except UserError as refusal:
            if str(refusal).startswith(f"objective.minimize: search={name} takes one objective"):
                return None
            if "optimizer.lr" not in str(refusal):
                raise
    raise AssertionError


@pytest.mark.parametrize("pruner", ["none", "asha", "median"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", SEARCHES)
def test_infeasible_points_are_never_proposed_and_a_resumed_search_is_an_undisturbed_one(
    name: str, space: str, pruner: str
) -> None:
    if pruner != "none" and "pruner" not in section(name):
        pytest.skip("has no pruner")
    made = several(name, space, pruner)
    if made is None:
        return
    live = Sweep(made, fails=fails).run()
    assert len(live.history.trials) == SMALL
    assert all(size(t.params)["size"] <= 32 for t in live.history.trials)
    assert live.history.front
    for count in range(0, len(live.ops) + 1, 2):
        again = live.rebuilt(several(name, space, pruner), count)
        again.fill()
        if again.timetable.running:
            again.report()
        assert again.ops == live.ops[: len(again.ops)], f"after {count} changes"


def test_the_bound_binds() -> None:
    """Without it many points are larger, so that the test above can fail."""
    live = Sweep(several("random", "flat", goals=Goals(("size",)))).run()
    assert sum(size(t.params)["size"] > 32 for t in live.history.trials) >= SMALL // 3


@pytest.mark.parametrize("name", SEARCHES)
def test_a_bound_that_no_point_keeps_is_one_sentence(name: str) -> None:
    if several(name, "flat") is None:
        return
    words = r"objective\.constraints: none of [\d,]+ points of the space is within size ≤ 1 \(the least is 32\)"
    with pytest.raises(UserError, match=words):
        several(name, "flat", goals=Goals(("size",), {"size": 1.0})).propose(History("minimize"), 1)


def test_a_terminator_knows_one_objective_only() -> None:
    spec = Spec(flat(), "minimize", 10, EPOCHS, 0, **SEVERAL)
    with pytest.raises(UserError, match=r"search\.terminator: .* with several take none"):
        terminated(make("search", section("random"), spec), spec, "stagnation")


def test_infeasible_points_of_an_earlier_study_are_not_tried_again() -> None:
    points = [{"model.width": width} for width in (96, 32, 64)]
    spec = Spec(flat(), "minimize", 5, EPOCHS, 0, first=points, goals=Goals((), {"size": 64.0}), measure=size)
    proposals = make("search", section("random"), spec).propose(History("minimize"), 5)
    assert [p.params["model.width"] for p in proposals[1:3]] == [32, 64]
    assert proposals[0].params["model.width"] < 96


def test_nsga2_says_what_else_to_use_for_one_objective() -> None:
    with pytest.raises(UserError, match=r"search: nsga2 is for several objectives.*use tpe"):
        make("search", section("nsga2"), Spec(flat(), "minimize", 10, EPOCHS, 0))


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median", "percentile"])
def test_pruners_look_at_the_first_objective_alone(pruner: str) -> None:
    """Random points do not depend on results: with a second objective the same trials end at the same epochs."""
    options = {"name": "random", "pruner": {"name": pruner, "percentile": 50.0} if pruner == "percentile" else pruner}
    tables = []
    for more in ({}, SEVERAL):
        live = Sweep(make("search", options, Spec(flat(), "minimize", 30, EPOCHS, 0, **more)), fails=fails).run()
        tables.append([(t.params, t.state, t.values) for t in live.history.trials])
    assert tables[0] == tables[1]
    assert {"complete", "pruned"} <= {state for _, state, _ in tables[0]}


# --- quality ---------------------------------------------------------------------------------------------------------

DIMENSIONS = 10
CORNER = (1.1, 11.0)


def hypervolume(points: list[tuple[float, ...]], corner: tuple[float, float] = CORNER) -> float:
    """The area that two objectives, to be minimized, dominate inside of a corner."""
    area, low = 0.0, corner[1]
    for x, y in sorted(points):
        if x < corner[0] and y < low:
            area, low = area + (corner[0] - x) * (low - y), y
    return area


def test_hypervolume_by_hand() -> None:
    """Three steps of a stair under (4, 4), 3 + 2 + 1 squares, and points that add nothing."""
    stair: list[tuple[float, ...]] = [(1, 3), (2, 2), (3, 1)]
    assert hypervolume(stair, (4, 4)) == 6
    assert hypervolume([*stair, (3, 3), (5, 0), (0, 4)], (4, 4)) == 6


def zdt1(params: Mapping[str, Any]) -> tuple[float, float]:
    """Zitzler, Deb & Thiele 2000; the front is y = 1 - sqrt(x)."""
    first, *rest = params.values()
    g = 1 + 9 * sum(rest) / len(rest)
    return first, g * (1 - math.sqrt(first / g))


def searched(name: str, seed: int, n_trials: int, bounds: Mapping[str, float] | None = None) -> History:
    """ZDT1 with four in flight; both objectives known only after training."""
    box = Space(Leaf(BASE, {f"x{k}": Dimension(f"x{k}", FloatDistribution(0.0, 1.0)) for k in range(DIMENSIONS)}))
    goals = Goals(("y",), dict(bounds or {}))
    made = make("search", section(name) | {"pruner": "none"}, Spec(box, "minimize", n_trials, 1, seed, goals=goals))
    found, running = History("minimize", goals=goals), []
    while not made.done(found):
        for proposal in made.propose(found, 4 - len(running)):
            running.append(found.start(proposal, 1, 1.0))
        trial = running.pop(0)
        x, y = zdt1(trial.params)
        found.report(trial.number, [x], "complete", measures={"y": y})
    return found


def volume(found: History) -> float:
    return hypervolume([found.losses(t) for t in found.feasible])


@pytest.mark.slow
def test_nsga2_made_anew_for_each_proposal_evolves() -> None:
    """On ZDT1 with 200 trials its hypervolume is larger than random's for each of 10 seeds, and by far on average."""
    volumes = {name: [volume(searched(name, seed, 200)) for seed in range(10)] for name in ("random", "nsga2")}
    print({name: (np.mean(v).round(3), min(v)) for name, v in volumes.items()})
    assert all(ours > chance for ours, chance in zip(volumes["nsga2"], volumes["random"], strict=True))
    left = {name: hypervolume([(k / 1e4, 1 - math.sqrt(k / 1e4)) for k in range(10_001)]) - np.mean(v)
            for name, v in volumes.items()}  # fmt: skip
    assert left["nsga2"] < 0.6 * left["random"]


def test_tpe_learns_from_several_objectives() -> None:
    volumes = {name: [volume(searched(name, seed, 50)) for seed in range(3)] for name in ("random", "tpe")}
    assert np.mean(volumes["tpe"]) > np.mean(volumes["random"]) + 0.5


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_a_constraint_known_only_after_training_is_learned(name: str) -> None:
    """More of the later trials keep it than with the same search that does not know of it."""
    kept = []
    for bounds in ({}, {"y": 2.0}):
        late = [t for seed in range(3) for t in searched(name, seed, 60, bounds).trials[30:]]
        kept.append(sum(t.measures["y"] <= 2.0 for t in late))
    assert kept[1] > kept[0] + 5


# --- as a person runs it ---------------------------------------------------------------------------------------------

TWO = ("objective.minimize=[val/error,parameters]", "search=nsga2", "n_trials=12", "epochs=2")


@pytest.fixture
def place(tmp_path: Path, prepared: Path) -> Any:
    yield Place(tmp_path, prepared)
    end_all()


@pytest.mark.slow
def test_a_sweep_of_two_objectives(place: Place, tmp_path: Path) -> None:
    """Also killed in the middle, on other workers."""
    place.run(*TWO, "workers=2")
    rows, summary = place.rows(), json.loads((place.out / "summary.json").read_text())
    assert list(rows[0])[:6] == ["number", "state", "value", "epochs", "diagnosis", "parameters"]
    points = {int(row["number"]): (-float(row["value"]), int(row["parameters"])) for row in rows}
    front = {n for n, p in points.items() if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points.values())}
    assert {trial["number"] for trial in summary["front"]} == front
    assert [(-t["value"], t["parameters"]) for t in summary["front"]] == [points[t["number"]] for t in summary["front"]]
    assert summary["best_number"] == summary["front"][0]["number"]
    assert summary["best_value"] == max(float(row["value"]) for row in rows)
    shown = place.query(
        "SELECT t.value, m.value FROM metrics m JOIN tags t USING (run_uuid) "
        "WHERE m.key = 'parameters' AND t.key = 'lockstep.trial'"
    )
    assert sorted((int(n), v) for n, v in shown) == sorted((n, p) for n, (_, p) in points.items())
    assert place.query("SELECT value FROM metrics WHERE key = 'best/parameters'") == [
        (points[summary["best_number"]][1],)
    ]

    other = Place(tmp_path / "other")
    (other.folder / "data").symlink_to(place.folder / "data")
    process = other.start(*TWO, "workers=1")
    assert wait_until(lambda: other.events() >= 5, process)
    kill(process)
    other.run(*TWO, "workers=1")
    for name in ("trials.csv", "summary.json", "best.yaml"):
        assert (other.out / name).read_bytes() == (place.out / name).read_bytes(), name


@pytest.mark.slow
def test_a_measured_latency_is_marked_and_kept_and_what_is_too_large_is_not_trained(place: Place) -> None:
    words = (
        "objective.minimize=[val/loss,latency_ms]",
        "objective.constraints={parameters: 8000}",
        "search=random",
        "n_trials=6",
        "epochs=1",
    )
    place.run(*words)
    table = place.trials
    assert [name for name in place.rows()[0] if "latency" in name] == ["measured.latency_ms"]
    assert all(0 < float(row["measured.latency_ms"]) < 1000 for row in place.rows())
    assert all(int(row["parameters"]) <= 8000 for row in place.rows())
    place.run(*words)
    assert place.trials == table, "the study has it"


def test_none_feasible_is_one_sentence(place: Place) -> None:
    words = ("objective.constraints={val/loss: 0.01}", "search=random", "n_trials=3", "epochs=1")
    failed = place.run(*words, ok=False).stderr.strip().splitlines()[-1]
    assert failed.startswith(
        "error: objective.constraints: none of the 3 complete trials of digits-mlp is within val/loss ≤ 0.01 ("
    )
    assert not (place.out / "best.yaml").exists()
