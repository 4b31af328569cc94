"""The report page: what was read from `outputs/`, as one self-contained HTML file and as data for `dvc plots`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from src.reporting import choices, comparison, ensemble_plots, labels, palette, pareto, plots, range_plots, remedies
from src.reporting.results import Ensemble, Report, Sweep

TOP = 20
METRICS = (
    "accuracy",
    "nll",
    "ece",
    "brier",
    "rmse",
    "mae",
    "r2",
    "crps",
)  # the order of columns; others follow by name
COUNTS = ("parameters", "operations")
FINE = ("healthy", "plateaued", "still improving")


def render(report: Report) -> str:
    """The page, the same bytes for the same report; Plotly's JavaScript stands in it once."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"metric": metric, "short": labels.short, "duration": duration, "leaf": labels.leaf}
    return environment.get_template("report.html.j2").render(
        report=report,
        columns=columns(report.ensemble),
        gain=gain(report),
        paired=paired(report),
        figures=figures(report),
        chart=chart,
        tables=[trial_tables(sweep) for sweep in report.sweeps],
        plots=plots,
        palette=palette.PALETTE,
        pareto=pareto,
        choices=choices,
        picture=ensemble_plots.picture,
        plotly=Markup(get_plotlyjs()),
    )


def chart(name: str, figure: go.Figure) -> Markup:
    """The place of a chart and its data, which no string in it can leave."""
    place = '<div class="chart" id="{}" data-kind="{}" style="height:{}px"></div>\n'
    script = '<script type="application/json" id="{}-data">{}</script>'
    data = Markup(figure.to_json(engine="json").replace("<", "\\u003c"))
    return Markup(place).format(name, figure.data[0].type, figure.layout.height) + Markup(script).format(name, data)


def figures(report: Report) -> dict[str, go.Figure]:
    """Every chart by the id of its place; a chart that has no data is absent."""
    found = {
        f"sweep{index}-{name}": figure
        for index, sweep in enumerate(report.sweeps)
        for name, figure in sweep_figures(sweep).items()
    }
    if report.comparison:
        found |= {f"compared-{over}": comparison.figure(report.comparison, over) for over in comparison.AXES}
    ensemble = report.ensemble
    if ensemble and ensemble.truth is not None and ensemble.output is not None:
        if report.regression:
            found["predicted"] = plots.predicted_over_true(ensemble.truth, ensemble.output)
            found["residuals"] = plots.residuals(ensemble.truth, ensemble.output)
        else:
            found["confusion"] = plots.confusion(ensemble.truth, ensemble.output.argmax(1), report.class_names)
    if ensemble and ensemble.judged:
        found |= {f"ensemble-{name}": figure for name, figure in ensemble_plots.figures(ensemble.judged).items()}
    return found


def sweep_figures(sweep: Sweep) -> dict[str, go.Figure]:
    found = {"history": plots.history(sweep.study)} if any(trial.value is not None for trial in sweep.trials) else {}
    if pareto.front(sweep.study):
        found |= {f"front{k}": pareto.figure(sweep.study, name) for k, name in enumerate(pareto.minimized(sweep.study))}
    if any(trial.intermediate_values for trial in sweep.trials):
        found["curves"] = plots.learning_curves(sweep.study)
    if sweep.losses[0]:
        found["losses"] = plots.losses(*sweep.losses)
    shares = plots.importances(sweep.compared) or {}
    if shares:
        found["importance"] = plots.importance(shares)
        found |= {f"effect{index}": plots.effect(sweep.compared, name) for index, name in enumerate(list(shares)[:4])}
    if order := [*shares, *(name for trial in plots.trials(sweep.compared, "COMPLETE") for name in trial.params)]:
        found["parallel"] = plots.parallel_coordinates(sweep.compared, order)
    if strip := remedies.figure(sweep.judged):
        found["diagnosis"] = strip
    if sweep.lr_range.get("curve"):
        found["lr_range"] = range_plots.lr_range(sweep.lr_range)
    return found


@dataclass(frozen=True)
class Table:
    """Trials in their order, each with its settings; exclusive branches that set the same key share a column."""

    trials: list[FrozenTrial]

    @property
    def names(self) -> dict[str, str]:
        return labels.brief(labels.leaf(name) for trial in self.trials for name in trial.params)

    def settings(self, trial: FrozenTrial) -> dict[str, Any]:
        return {labels.leaf(name): value for name, value in trial.params.items()}


def is_fault(diagnosis: str) -> bool:
    return bool(diagnosis) and not diagnosis.startswith(FINE)


def trial_tables(sweep: Sweep) -> dict[str, Table]:
    """The best feasible trials, those that went wrong and are not among them, and the Pareto front."""
    sign, complete = plots.sign(sweep.study), list(filter(pareto.feasible, plots.trials(sweep.study, "COMPLETE")))
    best = sorted(complete, key=lambda trial: (-sign * (trial.value or 0.0), trial.number))[:TOP]
    shown = {trial.number for trial in best}
    wrong = [t for t in sweep.trials if t.state is TrialState.FAIL or is_fault(t.user_attrs["diagnosis"])]
    wrong = [trial for trial in wrong if trial.number not in shown]
    return {"best": Table(best), "wrong": Table(wrong), "front": Table(pareto.front(sweep.study))}


def paired(report: Report) -> dict[str, Any] | None:
    """Test rows on which the ensemble beats the best single model, loses to it, and McNemar's test of chance."""
    found = report.ensemble
    if found is None or found.truth is None or found.output is None or found.single_output is None:
        return None
    pair = (found.output, found.single_output)
    if report.regression:
        ours, theirs = (-abs(output - found.truth) for output in pair)
    else:
        ours, theirs = (output.argmax(1) == found.truth for output in pair)
    wins, losses = int((ours > theirs).sum()), int((ours < theirs).sum())
    p = math.erfc(max(abs(wins - losses) - 1, 0) / math.sqrt(2 * max(wins + losses, 1)))
    return {"wins": wins, "losses": losses, "p": p, "rows": len(found.truth)}


def gain(report: Report) -> str:
    """How far the chosen ensemble is ahead of the best single model on the test rows."""
    found = report.ensemble
    ours, theirs = (r.test.get(report.metric) if r else None for r in (found and found.chosen, found and found.single))
    if ours is None or theirs is None:
        return ""
    change = 1 - ours / theirs if report.regression else ours - theirs
    size = f"{abs(change):.1%}" if report.regression else f"{abs(change) * 100:.2f} points"
    return f"the ensemble is {size} {'better' if change > 0 else 'worse'}" if change else "the ensemble is equal"


def columns(ensemble: Ensemble | None) -> list[tuple[str, str]]:
    """(part, metric) of each column of the results table, test first."""
    found = {
        (part, name)
        for result in (ensemble.results if ensemble else [])
        for part, scores in (("test", result.test), ("val", result.val))
        for name, score in scores.items()
        if isinstance(score, float | int)
    }
    return sorted(found, key=lambda c: (c[0], METRICS.index(c[1]) if c[1] in METRICS else len(METRICS), c[1]))


def metric(value: float | None, name: str) -> str:
    """A figure as people write it: accuracy in percent, others in four digits, a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 10_000 or name in COUNTS else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """7.3 s, 41 s, 3 min 12 s, 2 h 05 min."""
    if seconds is None:
        return "–"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plots_data(report: Report) -> dict[str, str]:
    """CSV tables for `dvc plots`: the best so far over all sweeps, the best trial's losses, the test predictions.

    A regression's predictions are told by the tenth of the true values that they fall in, so that one template serves.
    """
    sign = plots.sign(report.sweeps[0].study)
    rows = [
        (s.model, t.number, t.value or 0.0)
        for s in report.sweeps
        for t in plots.trials(s.study, "COMPLETE")
        if pareto.feasible(t)
    ]
    best = sign * np.maximum.accumulate([sign * value for *_, value in rows])
    history = [(step, *row, so_far) for step, (row, so_far) in enumerate(zip(rows, best.tolist(), strict=True), 1)]
    ranked = sorted((-sign * (s.best.value or 0.0), place) for place, s in enumerate(report.sweeps) if s.best)
    curves = zip(*report.sweeps[ranked[0][1]].losses, strict=True) if ranked else ()
    pairs: Iterable[tuple[Any, Any]] = ()
    found = report.ensemble
    if found and found.truth is not None and found.output is not None:
        if report.regression:
            tenths = np.quantile(found.truth, np.arange(1, 10) / 10)
            pairs = zip(*(np.digitize(values, tenths) + 1 for values in (found.truth, found.output)), strict=True)
        else:
            names = report.class_names
            pairs = ((names[a], names[b]) for a, b in zip(found.truth, found.output.argmax(1), strict=True))
    return {
        "history": _table(("step", "model", "trial", "value", "best"), history),
        "curves": _table(("epoch", "train/loss", "val/loss"), curves),
        "confusion": _table(("actual", "predicted"), pairs),
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()
