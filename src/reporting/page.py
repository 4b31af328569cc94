"""The report page: `outputs/` as one self-contained HTML file, and as data for `dvc plots`."""

from __future__ import annotations

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

from src.diagnosis.rules import kind_of
from src.metrics.listing import formatted, place
from src.reporting import (
    advice,
    cells,
    choices,
    comparison,
    ensemble_plots,
    labels,
    palette,
    pareto,
    plots,
    range_plots,
)
from src.reporting.results import Ensemble, Report, Sweep
from src.system.cell_string import cell_string
from src.system.tables import csv_text

TOP = 20
COUNTS = ("parameters", "operations")
FINE = ("healthy", "plateaued", "still improving", "supernet")


def render(report: Report) -> str:
    """Write the page, the same bytes for the same report; Plotly's JavaScript stands in it once."""
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
        cells=cells,
        cell_string=cell_string,
        picture=ensemble_plots.picture,
        plotly=Markup(get_plotlyjs()),
    )


def chart(name: str, figure: go.Figure) -> Markup:
    """Write the place of a chart and its data, which no string in it can leave."""
    place = '<div class="chart" id="{}" data-kind="{}" style="height:{}px"></div>\n'
    script = '<script type="application/json" id="{}-data">{}</script>'
    data = Markup(figure.to_json(engine="json").replace("<", "\\u003c"))
    return Markup(place).format(name, figure.data[0].type, figure.layout.height) + Markup(script).format(name, data)


def figures(report: Report) -> dict[str, go.Figure]:
    """Draw every chart, by the id of its place; a chart that has no data is absent."""
    charts = {
        f"sweep{index}-{name}": figure
        for index, sweep in enumerate(report.sweeps)
        for name, figure in sweep_figures(sweep).items()
    }
    if report.comparison:
        charts |= {f"compared-{over}": comparison.figure(report.comparison, over) for over in comparison.AXES}
    ensemble = report.ensemble
    if ensemble and ensemble.truth is not None and ensemble.output is not None:
        if report.regression:
            charts["predicted"] = plots.predicted_over_true(ensemble.truth, ensemble.output)
            charts["residuals"] = plots.residuals(ensemble.truth, ensemble.output)
        else:
            charts["confusion"] = plots.confusion(ensemble.truth, ensemble.output.argmax(1), report.class_names)
    if ensemble and ensemble.judged:
        charts |= {f"ensemble-{name}": figure for name, figure in ensemble_plots.figures(ensemble.judged).items()}
    return charts


def sweep_figures(sweep: Sweep) -> dict[str, go.Figure]:
    """Draw the charts of one sweep, by their names; a chart that has no data is absent."""
    charts = {"history": plots.history(sweep.study)} if any(trial.value is not None for trial in sweep.trials) else {}
    if pareto.front(sweep.study):
        charts |= {
            f"front{k}": pareto.figure(sweep.study, name) for k, name in enumerate(pareto.minimized(sweep.study))
        }
    if any(trial.intermediate_values for trial in sweep.trials):
        charts["curves"] = plots.learning_curves(sweep.study)
    if sweep.losses[0]:
        charts["losses"] = plots.losses(*sweep.losses)
    shares = plots.importances(sweep.compared) or {}
    if shares:
        charts["importance"] = plots.importance(shares)
        charts |= {f"effect{index}": plots.effect(sweep.compared, name) for index, name in enumerate(list(shares)[:4])}
    if order := [*shares, *(name for trial in plots.trials(sweep.compared, "COMPLETE") for name in trial.params)]:
        charts["parallel"] = plots.parallel_coordinates(sweep.compared, order)
    if weights := cells.mixture(sweep.supernet):
        charts["mixture"] = weights
    if strip := advice.figure(sweep.diagnosed_trials):
        charts["diagnosis"] = strip
    if sweep.lr_range.get("curve"):
        charts["lr_range"] = range_plots.lr_range(sweep.lr_range)
    return charts


@dataclass(frozen=True)
class Table:
    """Trials in their order, each with its settings; exclusive branches that set the same key share a column."""

    trials: list[FrozenTrial]

    @property
    def names(self) -> dict[str, str]:
        """Map each setting of the trials to its heading."""
        return labels.brief(labels.leaf(name) for trial in self.trials for name in trial.params)

    def settings(self, trial: FrozenTrial) -> dict[str, Any]:
        """Read a trial's settings without the branches that they are searched under."""
        return {labels.leaf(name): value for name, value in trial.params.items()}


def is_fault(diagnosis: str) -> bool:
    """Tell whether a diagnosis names a fault."""
    return bool(diagnosis) and kind_of(diagnosis) not in FINE


def trial_tables(sweep: Sweep) -> dict[str, Table]:
    """Select the best feasible trials, those that went wrong and are not among them, and the Pareto front."""
    sign, complete = plots.sign(sweep.study), list(filter(pareto.feasible, plots.trials(sweep.study, "COMPLETE")))
    best = sorted(complete, key=lambda trial: (-sign * (trial.value or 0.0), trial.number))[:TOP]
    shown = {trial.number for trial in best}
    wrong = [t for t in sweep.trials if t.state is TrialState.FAIL or is_fault(t.user_attrs["diagnosis"])]
    wrong = [trial for trial in wrong if trial.number not in shown]
    return {"best": Table(best), "wrong": Table(wrong), "front": Table(pareto.front(sweep.study))}


def paired(report: Report) -> dict[str, Any] | None:
    """Count the test rows on which the ensemble beats the best single model or loses to it.

    `p` is that of the sign test (McNemar's exact test for classes): so often would chance alone do as much.
    """
    ensemble = report.ensemble
    if ensemble is None or ensemble.truth is None or ensemble.output is None or ensemble.single_output is None:
        return None
    from scipy.stats import binomtest

    pair = (ensemble.output, ensemble.single_output)
    if report.regression:
        ours, theirs = (-abs(output - ensemble.truth) for output in pair)
    else:
        ours, theirs = (output.argmax(1) == ensemble.truth for output in pair)
    wins, losses = int((ours > theirs).sum()), int((ours < theirs).sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return {"wins": wins, "losses": losses, "p": p, "rows": len(ensemble.truth)}


def gain(report: Report) -> str:
    """Say how far the chosen ensemble is ahead of the best single model on the test rows."""
    ensemble = report.ensemble
    ours, theirs = (
        r.test.get(report.metric) if r else None for r in (ensemble and ensemble.chosen, ensemble and ensemble.single)
    )
    if ours is None or theirs is None:
        return ""
    change = 1 - ours / theirs if report.regression else ours - theirs
    size = f"{abs(change):.1%}" if report.regression else f"{abs(change) * 100:.2f} points"
    return f"the ensemble is {size} {'better' if change > 0 else 'worse'}" if change else "the ensemble is equal"


def columns(ensemble: Ensemble | None) -> list[tuple[str, str]]:
    """List the columns of the results table as (part, metric), test first."""
    pairs = {
        (part, name)
        for result in (ensemble.results if ensemble else [])
        for part, scores in (("test", result.test), ("val", result.val))
        for name, score in scores.items()
        if isinstance(score, float | int)
    }
    return sorted(pairs, key=lambda column: (column[0], *place(column[1])))


def metric(value: float | None, name: str) -> str:
    """Write a figure as people do, by the name of its metric, curve or measure."""
    counted = name in COUNTS and value is not None and math.isfinite(value)
    return f"{value:,.0f}" if counted else formatted(value, name)


def duration(seconds: float | None) -> str:
    """Write a duration: 7.3 s, 41 s, 3 min 12 s, 2 h 05 min."""
    if seconds is None:
        return "–"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plots_data(report: Report) -> dict[str, str]:
    """Write the CSV tables of `dvc plots`: the best so far of all sweeps, the best trial's losses, the test predictions.

    A regression's predictions are given by the tenth of the true values that they fall in, so that one template serves.
    """
    sign = plots.sign(report.sweeps[0].study)
    rows = [
        (sweep.model, trial.number, trial.value or 0.0)
        for sweep in report.sweeps
        for trial in plots.trials(sweep.study, "COMPLETE")
        if pareto.feasible(trial)
    ]
    best = sign * np.maximum.accumulate([sign * value for *_, value in rows])
    history = [(step, *row, so_far) for step, (row, so_far) in enumerate(zip(rows, best.tolist(), strict=True), 1)]
    ranked = sorted(
        (-sign * (sweep.best.value or 0.0), place) for place, sweep in enumerate(report.sweeps) if sweep.best
    )
    curves = zip(*report.sweeps[ranked[0][1]].losses, strict=True) if ranked else ()
    pairs: Iterable[tuple[Any, Any]] = ()
    ensemble = report.ensemble
    if ensemble and ensemble.truth is not None and ensemble.output is not None:
        if report.regression:
            tenths = np.quantile(ensemble.truth, np.arange(1, 10) / 10)
            pairs = zip(*(np.digitize(values, tenths) + 1 for values in (ensemble.truth, ensemble.output)), strict=True)
        else:
            names = [labels.plain(name) for name in report.class_names]
            pairs = ((names[a], names[b]) for a, b in zip(ensemble.truth, ensemble.output.argmax(1), strict=True))
    return {
        "history": _table(("step", "model", "trial", "value", "best"), history),
        "curves": _table(("epoch", "train/loss", "val/loss"), curves),
        "confusion": _table(("actual", "predicted"), pairs),
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return csv_text(header, (dict(zip(header, row, strict=True)) for row in rows))
