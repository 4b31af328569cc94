"""The Pareto front of a sweep with several objectives, as a figure with words for its axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from src.metrics.listing import percent
from src.reporting import labels, palette, plots

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


AXES = {  # measure: (title with its unit, whether on a log scale)
    "parameters": ("parameters (weights of the model, log scale)", True),
    "operations": ("operations (multiply-adds a row, log scale)", True),
    "latency_ms": ("latency (ms a row; measured, so other in every run)", False),
}


def minimized(study: Study) -> list[str]:
    """List the objectives after the first."""
    return list(study.user_attrs.get("minimized", ()))


def measures(study: Study) -> list[str]:
    """List the measures of a trial beside its value: further objectives, then those that only have a bound."""
    bounds = study.user_attrs.get("constraints", {})
    return [*minimized(study), *(name for name in bounds if name not in minimized(study))]


def feasible(trial: FrozenTrial) -> bool:
    """Tell whether a trial is within all bounds."""
    return bool(trial.user_attrs.get("feasible", True))


def front(study: Study) -> list[FrozenTrial]:
    """List the trials of the front, the best value first, as the sweep wrote it."""
    by_number = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    return [by_number[number] for number in study.user_attrs.get("front", ()) if number in by_number]


def figure(study: Study, name: str) -> go.Figure:
    """Draw the value over a further objective: trials grey, the front as a step line, the bound where there is one."""
    complete, on_front, best = plots.trials(study, "COMPLETE"), front(study), plots.best_trial(study)
    traces = [*_beside(complete, on_front, name), *_along(study, complete, on_front, name)]
    if best in on_front:
        diamond = {"marker_size": 13, "marker_symbol": "diamond"}
        traces.append(_dots([best], name, palette.SECOND, f"best: trial {best.number}", **diamond))
    shown = plots.focus((trial.value for trial in complete), plots.sign(study))
    if (bound := study.user_attrs.get("constraints", {}).get(name)) is not None and shown:
        words = f"at most {bound:,.10g}"
        traces.append(
            plots.line([bound] * 2, shown, palette.FAILED, 1.5, line_dash="dot", name=words, hoverinfo="name")
        )
    title, log = AXES.get(name, (labels.text(name), False))
    ticks_of_value = {"tickformat": ".3~%"} if percent(plots.metric(study)) else {}
    ticks = _counts(_measures(complete, name)) if log else {}
    return plots.figure(
        380, *traces, showlegend=True, xaxis={"title": title, **ticks},
        yaxis={"title": labels.text(plots.metric(study)), "range": shown, **ticks_of_value},
    )  # fmt: skip


def _beside(complete: list[FrozenTrial], on_front: list[FrozenTrial], name: str) -> list[Any]:
    """The trials that are not on the front, those outside the constraints as crosses."""
    numbers, traces = {trial.number for trial in on_front}, []
    others = [trial for trial in complete if trial.number not in numbers]
    for words, symbol, within in (("trials", "circle", True), ("outside the constraints", "x-thin-open", False)):
        if group := [trial for trial in others if feasible(trial) is within]:
            marker = {"marker_symbol": symbol, "opacity": 0.8, "marker_line_width": 1 + (symbol != "circle")}
            traces.append(_dots(group, name, palette.PRUNED, f"{words} ({len(group)})", **marker))
    return traces


def _along(study: Study, complete: list[FrozenTrial], on_front: list[FrozenTrial], name: str) -> list[Any]:
    """The front: its trials and the step line through those that this measure alone asks for."""
    steps = _steps(on_front, name, plots.sign(study))
    if not steps:
        return []
    x = [*_measures(steps, name), max(_measures(complete, name))]
    y = [trial.value for trial in (*steps, steps[-1])]
    return [
        plots.line(x, y, palette.ACCENT, line_shape="hv", hoverinfo="skip", showlegend=False),
        _dots(on_front, name, palette.ACCENT, f"Pareto front ({len(on_front)})", marker_size=10),
    ]


def _dots(group: list[FrozenTrial], name: str, colour: str, words: str, **marker: Any) -> Any:
    texts = [plots.describe(trial) for trial in group]
    return plots.dots(group, _measures(group, name), colour, texts, name=words).update(**marker)


def _measures(group: list[FrozenTrial], name: str) -> list[float]:
    return [trial.user_attrs["measures"][name] for trial in group]


def _steps(trials: list[FrozenTrial], name: str, sign: int) -> list[FrozenTrial]:
    """Select the trials that no other one beats in value and in the measure `name` alone, by that measure."""
    steps: list[FrozenTrial] = []
    for trial in sorted(trials, key=lambda t: (t.user_attrs["measures"][name], -sign * (t.value or 0.0), t.number)):
        if not steps or sign * (trial.value or 0.0) > sign * (steps[-1].value or 0.0):
            steps.append(trial)
    return steps


def _counts(values: list[float]) -> dict[str, Any]:
    """A log scale with ticks at 1, 2 and 5 of each decade, or over many decades at 1: 500, 1k, 2M."""
    low, high = math.log10(max(1.0, min(values, default=1.0))), math.log10(max(1.0, *values, 1.0))
    digits = (1, 2, 5) if high - low < 2.5 else (1,)
    ticks = [digit * 10**power for power in range(int(low), int(high) + 2) for digit in digits]
    words = [f"{tick:g}" if tick < 1e3 else f"{tick / 1e3:g}k" if tick < 1e6 else f"{tick / 1e6:g}M" for tick in ticks]
    return {"type": "log", "tickvals": ticks, "ticktext": words}
