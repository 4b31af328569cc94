"""Figures: pure functions from a study, a curve or predictions to Plotly figures in the light theme.

A figure uses the colours of `palette.PALETTE` and no others, so that a page turns it dark by exchanging them one by one.
Names from the data or the config (classes, parameters, choices) are escaped, since Plotly reads text as HTML.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from src.reporting.labels import brief, label, leaf, short, text
from src.reporting.palette import ACCENT, CARD, FAILED, FAINT, GRID, INK, MUTED, PRUNED, SCALE, SECOND

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.study import Study
    from optuna.trial import FrozenTrial


FONT = 'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
AXIS = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "ticks": "", "automargin": True}
LAYOUT = {
    "font": {"family": FONT, "size": 12, "color": MUTED},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 8, "r": 16, "t": 12, "b": 8},
    "hoverlabel": {"bgcolor": CARD, "bordercolor": GRID, "font": {"family": FONT, "size": 12, "color": INK}},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    "xaxis": AXIS,
    "yaxis": AXIS,
}
MAX_POINTS, MAX_ROWS, MAX_CLASSES, MAX_AXES, MIN_TRIALS = 10_000, 2_000, 30, 10, 10


def trials(study: Study, state: str) -> list[FrozenTrial]:
    """List the trials in a state: COMPLETE, PRUNED or FAIL."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == state]


def best_trial(study: Study) -> FrozenTrial | None:
    """Find the trial that the sweep named (attribute `best_number`), else Optuna's choice; None where none is complete."""
    complete = trials(study, "COMPLETE")
    named = [trial for trial in complete if trial.number == study.user_attrs.get("best_number")]
    return (named or [study.best_trial])[0] if complete else None


def metric(study: Study) -> str:
    """Name the metric that a trial's value is."""
    return str(study.user_attrs.get("metric", "value"))


def sign(study: Study) -> int:
    """Give 1 where more is better, else -1."""
    return 1 if study.direction.name == "MAXIMIZE" else -1


def describe(trial: FrozenTrial) -> str:
    """Write the text that hovering over a trial shows: number, value, state, diagnosis, parameters."""
    value = "" if trial.value is None else f" · {trial.value:.5g}"
    diagnosis = trial.user_attrs.get("diagnosis")
    state = trial.state.name.lower() + (f", {text(diagnosis)}" if diagnosis else "")
    params = (f"{text(leaf(name))} = {text(short(param))}" for name, param in trial.params.items())
    return "<br>".join([f"<b>trial {trial.number}</b>{value}", state, *params])


def focus(values: Iterable[float | None], good: int) -> tuple[float, float] | None:
    """Find an axis range that keeps the good side (`good` = ±1) and leaves far outliers on the other out of the picture."""
    scores = good * np.asarray([value for value in values if value is not None and math.isfinite(value)])
    if not scores.size:
        return None
    best, median, worst = float(scores.max()), float(np.median(scores)), float(scores.min())
    bad = max(worst, best - 4 * (best - median)) if best > median else worst
    margin = 0.06 * (best - bad) or 0.05 * abs(best) or 1.0
    low, high = sorted((good * (best + margin), good * (bad - margin)))
    return low, high


def figure(height: int, *traces: Any, **layout: Any) -> go.Figure:
    """Put `traces` into a figure of `height` pixels in the style of the page; `layout` are further keys of Plotly's."""
    return go.Figure(list(traces), layout=go.Layout(template={"layout": LAYOUT}, height=height, **layout))


def line(x: Iterable[Any], y: Iterable[float | None], colour: str, width: float = 2, **more: Any) -> Any:
    """Make a line trace through `x` and `y`, `width` pixels wide, in `colour`; `more` are further keys of Plotly's."""
    y = [_rounded(value) for value in y]
    return go.Scatter(x=list(x), y=y, mode="lines", line_color=colour, line_width=width, **more)


def dots(group: Sequence[FrozenTrial], x: Iterable[Any], colour: str, hover: Iterable[str], **more: Any) -> Any:
    """Make a trace of dots, one for each trial of `group`, at the places `x` and the height of its value.

    `colour` is that of the dots, `hover` the text of each, `more` are further keys of Plotly's.
    """
    y = [_rounded(trial.value) for trial in group]
    marker = {"size": 7, "color": colour, "line": {"width": 1, "color": CARD}}
    return go.Scatter(x=list(x), y=y, mode="markers", marker=marker, hoverinfo="text", hovertext=list(hover), **more)


def history(study: Study) -> go.Figure:
    """Draw each trial's value by number, coloured by state, and the best so far; failed ones stand at the bottom."""
    colours = {"PRUNED": PRUNED, "COMPLETE": ACCENT, "FAIL": FAILED}
    groups = {state: group for state in colours if (group := trials(study, state))}
    shown = focus((trial.value for group in groups.values() for trial in group), sign(study))
    traces = []
    for state, group in groups.items():
        title, hover = f"{state.lower()} ({len(group)})", map(describe, group)
        traces.append(dots(group, (trial.number for trial in group), colours[state], hover, name=title))
    if failed := groups.get("FAIL"):
        bottom = 0.0 if shown is None else 0.96 * shown[0] + 0.04 * shown[1]
        cross = {"symbol": "x-thin", "line": {"width": 2, "color": FAILED}}
        traces[-1].update(y=[bottom] * len(failed), marker=cross)
    if complete := [trial for trial in groups.get("COMPLETE", ()) if trial.user_attrs.get("feasible", True)]:
        so_far = sign(study) * np.maximum.accumulate([sign(study) * (trial.value or 0.0) for trial in complete])
        x = [*(trial.number for trial in complete), study.get_trials(deepcopy=False)[-1].number]
        style: dict[str, Any] = {"line_shape": "hv", "hoverinfo": "skip"}
        traces.append(line(x, [*so_far, so_far[-1]], SECOND, name="best so far", **style))
    yaxis = {"title": text(metric(study)), "range": shown}
    return figure(320, *traces, showlegend=True, xaxis={"title": "trial"}, yaxis=yaxis)


def learning_curves(study: Study) -> go.Figure:
    """Draw the study's metric over epochs: all trials (of very many, one in n) faint, pruned ones grey, the best on top."""
    best = best_trial(study)
    others = (t for t in study.get_trials(deepcopy=False) if best is None or t.number != best.number)
    trained = [trial for trial in others if trial.intermediate_values]
    every = math.ceil(sum(len(trial.intermediate_values) for trial in trained) / MAX_POINTS) or 1
    traces = []
    for state, colour in (("fail", FAILED), ("pruned", PRUNED), ("complete", FAINT)):
        group = [trial for trial in trained[::every] if trial.state.name == state.upper()]
        x = [epoch for trial in group for epoch in (*trial.intermediate_values, None)]  # None parts two trials
        y = [value for trial in group for value in (*trial.intermediate_values.values(), None)]
        hover = [f"trial {trial.number}" for trial in group for _ in range(len(trial.intermediate_values) + 1)]
        tip, name = "%{hovertext}, epoch %{x}: %{y}<extra></extra>", state + (f" (1 in {every})" if every > 1 else "")
        if group:
            traces.append(line(x, y, colour, 1.2, name=name, opacity=0.7, hovertext=hover, hovertemplate=tip))
    if best and (curve := best.intermediate_values):
        traces.append(line(curve, curve.values(), ACCENT, 3, name=f"best: trial {best.number}"))
    yaxis = {"title": text(metric(study)), "range": focus((v for trace in traces for v in trace.y), sign(study))}
    return figure(300, *traces, showlegend=True, xaxis={"title": "epoch"}, yaxis=yaxis)


def losses(epochs: Sequence[float], train: Sequence[float], val: Sequence[float]) -> go.Figure:
    """Draw the losses `train` and `val` of one trial over its `epochs`."""
    positive = [value for value in (*train, *val) if value > 0 and math.isfinite(value)]
    wide = bool(positive) and max(positive) > 30 * min(positive)
    traces = line(epochs, train, MUTED, name="train"), line(epochs, val, ACCENT, name="validation")
    yaxis = {"title": "loss", **({"type": "log", "dtick": "D2"} if wide else {"rangemode": "tozero"})}
    return figure(300, *traces, xaxis={"title": "epoch"}, yaxis=yaxis)


def importances(study: Study) -> dict[str, float] | None:
    """Weigh how much each parameter decides whether a trial is among the best tenth (at least five); the sum is 1.

    Conditional PED-ANOVA, which weighs a parameter of one branch by the trials that have it
    (https://arxiv.org/abs/2601.20800). None for fewer than MIN_TRIALS complete trials or equal values.
    """
    complete = trials(study, "COMPLETE")
    if len(complete) < MIN_TRIALS or len({trial.value for trial in complete}) == 1:
        return None
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a branch with one trial: it counts for nothing, as it should
        evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, 5 / len(complete)))
        shares = get_param_importances(study, evaluator=evaluator)
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0]))) or None


def importance(shares: Mapping[str, float]) -> go.Figure:
    """Draw the shares of the parameters as bars, the most important one on top."""
    x, y, percent = list(shares.values()), list(map(label, shares)), [f"{share:.0%}" for share in shares.values()]
    style = {"orientation": "h", "textposition": "outside", "marker_color": ACCENT, "cliponaxis": False}
    bar = go.Bar(x=x, y=y, text=percent, hoverinfo="skip", **style)
    xaxis = {"visible": False, "range": [0, 1.12 * max(shares.values())]}
    yaxis = {"autorange": "reversed", "tickfont": {"color": INK}, "ticksuffix": "  "}
    return figure(24 + 27 * len(shares), bar, xaxis=xaxis, yaxis=yaxis, bargap=0.35)


def effect(study: Study, name: str) -> go.Figure:
    """Draw the value of every complete trial over one parameter."""
    with_parameter = [trial for trial in trials(study, "COMPLETE") if name in trial.params]
    axis = Axis.of([trial.distributions[name] for trial in with_parameter])
    hover = (f"trial {t.number}: {text(short(t.params[name]))}, {t.value:.5g}" for t in with_parameter)
    marks = dots(
        with_parameter, (axis.place(trial.params[name]) for trial in with_parameter), ACCENT, hover, opacity=0.75
    )
    xaxis = {"title": label(name), "tickvals": axis.at, "ticktext": list(map(text, axis.labels))}
    values = focus((trial.value for trial in with_parameter), sign(study))
    return figure(240, marks, xaxis=xaxis, yaxis={"title": text(metric(study)), "range": values, "nticks": 5})


def parallel_coordinates(study: Study, order: Iterable[str]) -> go.Figure:
    """Draw a line for each complete trial through its parameters, the best quarter selected.

    Parameters of exclusive branches that set the same key share an axis; where a trial has none, it passes through "–".
    """
    complete = trials(study, "COMPLETE")
    scores = sign(study) * np.array([trial.value for trial in complete])
    low, high = sorted(sign(study) * value for value in focus(sign(study) * scores, sign(study)) or (0, 1))
    value = {"label": text(metric(study)), "values": [_rounded(trial.value or 0.0) for trial in complete]}
    if len(complete) >= MIN_TRIALS:
        value["constraintrange"] = sorted(float(sign(study) * v) for v in (np.quantile(scores, 0.75), scores.max()))
    names = list(dict.fromkeys(leaf(name) for name in order))[:MAX_AXES]
    parcoords = go.Parcoords(
        dimensions=[value, *(_dimension(name, label, complete) for name, label in brief(names).items())],
        line={"color": list(map(_rounded, scores)), "colorscale": SCALE, "cmin": low, "cmax": high},
        labelfont={"color": INK, "size": 12},
        tickfont={"color": MUTED, "size": 11, "shadow": "none"},
        rangefont={"color": "rgba(0,0,0,0)"},
        unselected={"line": {"color": PRUNED, "opacity": 0.25}},
    )
    return figure(380, parcoords, margin={"l": 70, "r": 60, "t": 48, "b": 16})


def _dimension(name: str, label: str, complete: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Make one axis of the parallel coordinates, with a place below for the trials that do not have the parameter."""
    keys = [next((key for key in trial.params if leaf(key) == name), None) for trial in complete]
    axis = Axis.of([trial.distributions[key] for trial, key in zip(complete, keys, strict=True) if key])
    places = [axis.place(trial.params[key]) if key else None for trial, key in zip(complete, keys, strict=True)]
    low, at, labels = axis.low, axis.at, axis.labels
    if None in places:
        low -= 0.12 * (axis.high - axis.low)
        places, at, labels = [low if place is None else place for place in places], [low, *at], ["–", *labels]
    return {"label": text(label), "values": places, "range": [low, axis.high], "tickvals": at, "ticktext": labels}


@dataclass(frozen=True)
class Axis:
    """The axis of a parameter's values: logarithms with readable ticks, choices by name."""

    low: float
    high: float
    at: list[float]
    labels: list[str]
    place: Callable[[Any], float]

    @classmethod
    def of(cls, kinds: Sequence[Any]) -> Axis:
        """Make the axis on which the values of all these Optuna distributions stand."""
        if any(hasattr(kind, "choices") for kind in kinds):
            names = list(dict.fromkeys(str(choice) for kind in kinds for choice in getattr(kind, "choices", ())))
            at = list(map(float, range(len(names))))
            return cls(-0.3, len(names) - 0.7, at, names, lambda value: float(names.index(str(value))))
        low, high = min(kind.low for kind in kinds), max(kind.high for kind in kinds)
        scale: Callable[[float], float] = math.log10 if all(kind.log for kind in kinds) else float
        step = getattr(kinds[0], "step", None) or 0
        few = scale is float and low < high <= low + 6 * step  # then every value is a tick
        ticks = np.arange(low, high + step / 2, step).tolist() if few else _ticks(low, high, scale is math.log10)
        margin = 0.5 * (low == high)
        labels = [short(tick) for tick in ticks]
        return cls(scale(low) - margin, scale(high) + margin, list(map(scale, ticks)), labels, scale)


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """Round numbers in [low, high], about five."""
    if low == high:
        return [low]
    if log:
        decades = math.log10(high / low)
        digits = (1,) if decades >= 2.5 else (1, 3) if decades >= 1.2 else (1, 2, 5)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
        return [tick for tick in ticks if low <= tick <= high] or [low, high]
    unit = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(size * unit for size in (1, 2, 5, 10) if (high - low) / (size * unit) <= 6)
    step = max(1.0, step) if isinstance(low, int) and isinstance(high, int) else step
    return [_rounded(n * step) or 0.0 for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def confusion(actual: NDArray[np.int64], predicted: NDArray[np.int64], class_names: Sequence[str]) -> go.Figure:
    """Draw the confusion matrix of the test rows; of many classes, of those with the most errors.

    Args:
        actual: the true class of each row [N], as a place in `class_names`.
        predicted: the predicted class of each row [N].
        class_names: all classes [C].
    """
    classes = len(class_names)
    counts = np.bincount(actual * classes + predicted, minlength=classes**2).reshape(classes, classes)
    errors = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shown = np.sort(np.argsort(-errors, kind="stable")[:MAX_CLASSES])
    counts, share, names = (
        counts[np.ix_(shown, shown)],
        share[np.ix_(shown, shown)],
        [text(class_names[k]) for k in shown],
    )
    heat = go.Heatmap(
        z=np.round(share, 4).tolist(), x=names, y=names, customdata=counts.tolist(), zmin=0, zmax=1, showscale=False,
        text=[[str(n) if n else "" for n in row] for row in counts.tolist()], xgap=2, ygap=2,
        texttemplate="%{text}" if len(shown) <= 20 else None, colorscale=SCALE,
        hovertemplate="%{y}, taken for %{x}: %{customdata} rows, %{z:.1%}<extra></extra>",
    )  # fmt: skip
    axis = {"type": "category", "showgrid": False, "tickfont": {"color": INK}}
    yaxis = {**axis, "title": "true", "autorange": "reversed", "ticksuffix": " "}
    return figure(90 + 34 * max(4, min(len(shown), 20)), heat, xaxis={**axis, "title": "predicted"}, yaxis=yaxis)


def predicted_over_true(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> go.Figure:
    """Draw each row's predicted value over its true one (a regression), and the line where both are equal."""
    keep = slice(None, None, math.ceil(len(actual) / MAX_ROWS) or 1)
    x, y = ([_rounded(float(value)) for value in values[keep]] for values in (actual, predicted))
    tip, marker = "true %{x}, predicted %{y}<extra></extra>", {"color": ACCENT, "size": 4, "opacity": 0.5}
    traces = [go.Scatter(x=x, y=y, mode="markers", marker=marker, hovertemplate=tip)]
    traces.append(line(ends := [actual.min(), actual.max()], ends, SECOND, 1.5, hoverinfo="skip"))
    return figure(360, *traces, showlegend=False, xaxis={"title": "true"}, yaxis={"title": "predicted"})


def residuals(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> go.Figure:
    """Draw how the errors of a regression are spread; a lump beside zero is a bias."""
    errors = (predicted - actual)[np.isfinite(predicted - actual)]
    counts, edges = np.histogram(errors, bins=min(60, max(10, len(errors) // 20)))
    middle = [_rounded(float(value)) for value in (edges[1:] + edges[:-1]) / 2]
    bars = go.Bar(x=middle, y=counts.tolist(), marker_color=ACCENT, hovertemplate="%{y} rows near %{x}<extra></extra>")
    return figure(360, bars, xaxis={"title": "predicted − true"}, yaxis={"title": "test rows"}, bargap=0.06)


def _rounded(value: float | None) -> float | None:
    """Five digits are enough for a picture and keep the page small; None is a gap."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
