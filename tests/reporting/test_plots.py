"""Figures say what the study, the curve and the predictions say."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from sklearn.metrics import confusion_matrix

from src.reporting import labels, palette, plots, range_plots
from tests.reporting.test_range_plots import FOUND as RANGE_TEST

optuna.logging.set_verbosity(optuna.logging.WARNING)
RATE, NOISE, WIDTH = FloatDistribution(1e-5, 1.0, log=True), FloatDistribution(-1.0, 1.0), IntDistribution(16, 256)


def make_study(direction: str = "maximize", n: int = 60) -> optuna.Study:
    """A branch `a` with a rate that decides nearly everything, a branch `b` without one, and a parameter of no effect."""
    rng = np.random.default_rng(0)
    study = optuna.create_study(direction=direction)
    study.set_user_attr("metric", "val/accuracy")
    for number in range(n):
        branch = "ab"[number % 2]
        params: dict[str, Any] = {"branch": branch, "noise": rng.uniform(-1, 1), "width": int(rng.integers(16, 257))}
        kinds: dict[str, Any] = {"branch": CategoricalDistribution(["a", "b"]), "noise": NOISE, "width": WIDTH}
        score = 0.5
        if branch == "a":
            params["a/optimizer.lr"], kinds["a/optimizer.lr"] = 10 ** rng.uniform(-5, 0), RATE
            score = 0.95 - 0.1 * abs(math.log10(params["a/optimizer.lr"]) + 2)
        value = score if direction == "maximize" else 1 - score
        state = TrialState.FAIL if number % 10 == 9 else TrialState.PRUNED if number % 10 == 8 else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=state,
                value=None if state is TrialState.FAIL else value,
                params=params,
                distributions=kinds,
                intermediate_values={1: 0.5 * value, 2: math.nan if state is TrialState.FAIL else value},
                user_attrs={"diagnosis": "<i>odd</i>" if state is TrialState.FAIL else ""},
            )
        )
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_history_shows_every_trial_and_the_running_best(direction: str) -> None:
    study = make_study(direction)
    by_name = {trace.name: trace for trace in plots.history(study).data}
    assert sum(len(trace.x) for name, trace in by_name.items() if name != "best so far") == 60
    assert {name.split()[0] for name in by_name} == {"complete", "pruned", "fail", "best"}
    complete = plots.trials(study, "COMPLETE")
    better = max if direction == "maximize" else min
    expected = [better(t.value for t in complete[: n + 1] if t.value is not None) for n in range(len(complete))]
    assert list(by_name["best so far"].y) == pytest.approx([*expected, expected[-1]], rel=1e-4)
    assert "&lt;i&gt;odd" in by_name["fail (6)"].hovertext[0]


def test_learning_curves_hold_every_trial_and_part_them() -> None:
    study = make_study()
    figure = plots.learning_curves(study)
    best = study.best_trial
    assert figure.data[-1].name == f"best: trial {best.number}"
    assert list(figure.data[-1].y) == pytest.approx(list(best.intermediate_values.values()), rel=1e-4)
    faint = next(trace for trace in figure.data if trace.name == "complete")
    assert faint.x.count(None) == len(plots.trials(study, "COMPLETE")) - 1 == len(set(faint.hovertext))


def test_the_best_trial_is_the_one_that_the_sweep_named() -> None:
    study = make_study()
    study.set_user_attr("best_number", 4)
    assert plots.best_trial(study).number == 4  # type: ignore[union-attr]
    assert plots.best_trial(optuna.create_study()) is None


def test_importance_finds_the_rate_of_a_branch() -> None:
    shares = plots.importances(make_study())
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "a/optimizer.lr"
    assert shares["a/optimizer.lr"] + shares["branch"] > 0.7
    assert set(shares) == {"a/optimizer.lr", "branch", "noise", "width"}
    assert plots.importance(shares).data[0].y[0] == "optimizer.lr (a)"


def test_importance_is_silent_when_it_cannot_know() -> None:
    assert plots.importances(make_study(n=8)) is None
    equal = optuna.create_study()
    for _ in range(30):
        equal.add_trial(create_trial(value=0.5, params={"x": 0.1}, distributions={"x": NOISE}))
    assert plots.importances(equal) is None


def test_parallel_coordinates_place_logarithms_choices_and_what_is_absent() -> None:
    study = make_study()
    complete = plots.trials(study, "COMPLETE")
    figure = plots.parallel_coordinates(study, ["branch", "a/optimizer.lr", "width"])
    axes = {axis.label: axis for axis in figure.data[0].dimensions}
    rate = axes["lr"]
    for trial, place in zip(complete, rate.values, strict=True):
        if "a/optimizer.lr" in trial.params:
            assert place == pytest.approx(math.log10(trial.params["a/optimizer.lr"]), rel=1e-4)
        else:
            assert place == rate.range[0] < -5
    ticks = dict(zip(rate.ticktext, rate.tickvals, strict=True))
    assert ticks.pop("–") == rate.range[0]
    assert all(math.log10(float(words)) == pytest.approx(at) for words, at in ticks.items())
    branch = axes["branch"]
    assert [branch.ticktext[int(place)] for place in branch.values] == [trial.params["branch"] for trial in complete]
    low, high = axes["val/accuracy"].constraintrange
    inside = [trial.value for trial in complete if trial.value is not None and low <= trial.value <= high]
    assert max(inside) == study.best_value
    assert len(complete) / 4 <= len(inside) < len(complete) / 3


def test_equal_keys_of_two_branches_share_an_axis() -> None:
    study = optuna.create_study()
    for number, branch in enumerate("ab" * 10):
        study.add_trial(create_trial(value=number, params={f"{branch}/x": 0.1}, distributions={f"{branch}/x": RATE}))
    dimensions = plots.parallel_coordinates(study, ["a/x", "b/x"]).data[0].dimensions
    assert [axis.label for axis in dimensions] == ["value", "x"]
    assert "–" not in dimensions[1].ticktext


@pytest.mark.parametrize(
    "kind",
    [FloatDistribution(0.1, 0.1), FloatDistribution(3e-4, 5e-4, log=True), FloatDistribution(-2.5, 7.1),
     FloatDistribution(1e-12, 1e3, log=True), IntDistribution(3, 3), IntDistribution(1, 4),
     IntDistribution(1, 99, log=True)],
)  # fmt: skip
def test_axes_have_few_ticks_within_their_range(kind: Any) -> None:
    axis = plots.Axis.of([kind])
    assert axis.low < axis.high
    assert 1 <= len(axis.at) <= 17
    assert len(set(axis.labels)) == len(axis.at)
    assert all(axis.low <= at <= axis.high for at in axis.at)
    assert [axis.place(float(words)) for words in axis.labels] == pytest.approx(axis.at, abs=1e-3)


def test_an_axis_of_few_values_has_a_tick_at_each() -> None:
    assert plots.Axis.of([IntDistribution(32, 128, step=32)]).labels == ["32", "64", "96", "128"]
    assert plots.Axis.of([FloatDistribution(0.0, 0.5, step=0.25)]).labels == ["0", "0.25", "0.5"]


def test_focus_keeps_the_good_and_drops_the_far() -> None:
    values = [0.9, 0.92, 0.94, 0.95, 0.1, math.nan]
    low, high = plots.focus(values, 1) or (0, 0)
    assert 0.1 < low < 0.9 < 0.95 < high
    mirrored = plots.focus([-v for v in values], -1) or (0, 0)
    assert mirrored == pytest.approx((-high, -low))
    assert plots.focus([math.nan, None], 1) is None
    same = plots.focus([0.5, 0.5], 1) or (0, 0)
    assert same[0] < 0.5 < same[1]


@pytest.mark.parametrize(
    ("value", "words"),
    [(3.2e-5, "3.2e-5"), (0.01234, "0.0123"), (1e10, "1e10"), (64, "64"), (True, "True"), ("relu", "relu"), (0.0, "0")],
)
def test_short(value: Any, words: str) -> None:
    assert labels.short(value) == words


def test_confusion_counts_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(1)
    actual, predicted = rng.integers(0, 5, (2, 300))
    heat = plots.confusion(actual, predicted, ["a", "b", "<i>c</i>", "d", "e"]).data[0]
    expected = confusion_matrix(actual, predicted)
    assert np.array_equal(heat.customdata, expected)
    assert np.array(heat.z) == pytest.approx(expected / expected.sum(1, keepdims=True), abs=1e-4)
    assert heat.y[2] == "&lt;i&gt;c&lt;/i&gt;"


def test_confusion_of_many_classes_keeps_those_with_errors() -> None:
    actual = np.arange(200).repeat(3)
    predicted = actual.copy()
    predicted[actual == 150] = 7
    heat = plots.confusion(actual, predicted, [str(n) for n in range(200)]).data[0]
    assert len(heat.x) == plots.MAX_CLASSES
    assert {"150", "7"} <= set(heat.x)
    assert heat.customdata[list(heat.y).index("150")][list(heat.x).index("7")] == 3


def test_residuals_count_every_row() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=500)
    assert sum(plots.residuals(truth, truth + rng.normal(size=500)).data[0].y) == 500
    dots, line = plots.predicted_over_true(truth, truth).data
    assert list(dots.x) == list(dots.y)
    assert list(line.x) == pytest.approx(list(line.y), rel=1e-4)


def test_figures_use_only_colours_that_a_page_can_turn_dark() -> None:
    study = make_study()
    shares = plots.importances(study) or {}
    numbers = np.arange(40)
    figures: list[go.Figure] = [
        plots.history(study), plots.learning_curves(study), plots.losses([1, 2], [2.0, 1.0], [2.0, math.nan]),
        plots.importance(shares), *(plots.effect(study, name) for name in shares),
        plots.parallel_coordinates(study, shares), range_plots.lr_range(RANGE_TEST),
        plots.confusion(numbers, numbers, [str(n) for n in numbers]),
        plots.predicted_over_true(numbers * 1.0, numbers * 1.1), plots.residuals(numbers * 1.0, numbers * 1.1),
    ]  # fmt: skip
    for figure in figures:
        used = set(re.findall(r"#[0-9a-fA-F]{3,8}\b|(?:rgb|hsl)a?\([^)]*\)", figure.to_json()))
        assert used <= {*palette.PALETTE, "rgba(0,0,0,0)"}
    assert len(set(palette.PALETTE.values())) == len(palette.PALETTE)
