"""The report page: reads what the stages wrote under `outputs/` and renders one self-contained HTML file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import optuna
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.offline import get_plotlyjs

from src import plots
from src.errors import UserError

TOP = 20
METRICS = ("accuracy", "nll", "ece", "rmse", "mae", "r2")  # the order of columns; others follow by name
FINE = {"", "healthy", "plateaued", "still improving"}
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "fail": TrialState.FAIL}


@dataclass(frozen=True)
class Sweep:
    """What one model's sweep left behind."""

    model: str
    study: optuna.Study
    summary: Mapping[str, Any]
    losses: tuple[list[int], list[float], list[float]]  # the best trial's epochs, train/loss, val/loss
    timing: Mapping[str, Any]
    lr_range: Mapping[str, Any]

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @cached_property
    def best(self) -> FrozenTrial | None:
        return plots.best_trial(self.study)

    @property
    def states(self) -> Counter[str]:
        return Counter(trial.state.name.lower() for trial in self.trials)

    @property
    def diagnoses(self) -> list[tuple[str, int]]:
        found = Counter(trial.user_attrs["diagnosis"] for trial in self.trials)
        return sorted(((name, n) for name, n in found.items() if name), key=lambda item: (-item[1], item[0]))

    def seconds(self, trial: FrozenTrial) -> Any:
        return self.timing.get("trials", {}).get(str(trial.number), {}).get("seconds")


@dataclass(frozen=True)
class Result:
    """One line of the results table: an ensemble or the best single model."""

    name: str
    val: Mapping[str, float]
    test: Mapping[str, float]
    chosen: bool = False


@dataclass(frozen=True)
class Ensemble:
    results: list[Result]
    single: Result | None
    truth: NDArray[Any] | None = None
    output: NDArray[Any] | None = None  # probabilities [N,C], or values [N]
    single_output: NDArray[Any] | None = None

    @property
    def chosen(self) -> Result:
        return next(result for result in self.results if result.chosen)


@dataclass(frozen=True)
class Report:
    """All that the page shows. `meta` is the prepared data's meta.json, or what could be found out without it."""

    sweeps: list[Sweep]
    ensemble: Ensemble | None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def regression(self) -> bool:
        return bool(self.meta["task"] == "regression")

    @property
    def metric(self) -> str:
        return "rmse" if self.regression else "accuracy"

    @property
    def class_names(self) -> list[str]:
        classes = 0 if self.ensemble is None or self.ensemble.output is None else self.ensemble.output.shape[-1]
        return [str(name) for name in self.meta.get("class_names") or range(classes)]

    @property
    def wall_s(self) -> float | None:
        return sum(sweep.timing.get("wall_s") or 0.0 for sweep in self.sweeps) or None


def read(outputs: Path, models: Sequence[str], prepared: Path | None = None) -> Report:
    """Everything under `outputs` for `models`; a missing sweep is an error, what else is missing is left out."""
    if not models:
        raise UserError("models is empty: name at least one model whose sweep the report shall show")
    sweeps = [read_sweep(outputs, model) for model in models]
    members = _json(outputs / "train" / models[0] / "members.json")
    guess = "regression" if plots.metric(sweeps[0].study) == "val/rmse" else "classification"
    found = {"task": members.get("task", guess), "sha256": members.get("sha256")}
    meta = _json(prepared / "meta.json") if prepared else {}
    return Report(sweeps, read_ensemble(outputs / "ensemble"), {**found, **meta})


def read_sweep(outputs: Path, model: str) -> Sweep:
    folder = outputs / "sweep" / model
    if not (folder / "trials.csv").exists():
        raise UserError(f"{folder / 'trials.csv'} is not there: run `dvc repro` or drop {model!r} from models")
    summary, curves = _json(folder / "summary.json"), _rows(folder / "curves.csv")
    study = read_study(_rows(folder / "trials.csv"), curves, summary)
    best = plots.best_trial(study)
    mine = [row for row in curves if best and int(row["number"]) == best.number]
    train, val = ([_number(row.get(name)) for row in mine] for name in ("train/loss", "val/loss"))
    losses = [int(row["epoch"]) for row in mine], train, val
    lr_range = _json(outputs / "lr_range" / model / "lr_range.json")
    return Sweep(model, study, summary, losses, _json(folder / "timing.json"), lr_range)


def read_study(
    table: Sequence[Mapping[str, str]], curves: Sequence[Mapping[str, str]], summary: Mapping[str, Any]
) -> optuna.Study:
    """trials.csv, curves.csv and summary.json as an Optuna study again: values, parameters, values per epoch."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=summary.get("direction", "maximize"))
    study.set_user_attr("metric", metric := summary.get("metric", "value"))
    study.set_user_attr("best_number", summary.get("best_number"))
    space = {name: json_to_distribution(kind) for name, kind in summary.get("distributions", {}).items()}
    reports: dict[int, dict[int, float]] = {}
    for row in curves:
        reports.setdefault(int(row["number"]), {})[int(row["epoch"])] = _number(row.get(metric))
    by_number = {int(row["number"]): row for row in table}
    gap = {"state": "fail", "value": "", "diagnosis": "not in trials.csv"}
    for number in range(max(by_number, default=-1) + 1):
        row = by_number.get(number, gap)
        cells = {name: _param(name, kind, row.get(f"params.{name}") or "") for name, kind in space.items()}
        params = {name: cell for name, cell in cells.items() if cell is not MISSING}
        value, state = _number(row["value"]), STATES[row["state"]]
        if state is TrialState.COMPLETE and not math.isfinite(value):
            state = TrialState.FAIL
        trial = create_trial(
            state=state,
            value=value if math.isfinite(value) and state is not TrialState.FAIL else None,
            params=params,
            distributions={name: space[name] for name in params},
            intermediate_values=reports.get(number, {}),
            user_attrs={"diagnosis": row.get("diagnosis") or "", "epochs": row.get("epochs") or ""},
        )
        study.add_trial(trial)
    return study


MISSING = object()


def _param(name: str, kind: BaseDistribution, cell: str) -> Any:
    """A cell of trials.csv in its own type; MISSING where this trial has no such parameter."""
    if isinstance(kind, CategoricalDistribution):
        wanted = cell or ("" if "/" in name else "None")  # an empty cell is the choice None, but not under a branch
        return next((choice for choice in kind.choices if str(choice) == wanted), MISSING)
    number = _number(cell)
    return kind.to_external_repr(number) if cell and kind._contains(number) else MISSING


def read_ensemble(folder: Path) -> Ensemble | None:
    metrics = _json(folder / "metrics.json")
    if not metrics:
        return None
    entries = {name: (entry.get("val", {}), entry.get("test", {})) for name, entry in metrics["ensembles"].items()}
    val, test = metrics.get("val", {}), metrics.get("test", {})
    chosen = metrics.get("chosen") or next((name for name, scores in entries.items() if scores == (val, test)), None)
    if chosen not in entries:
        entries[chosen := chosen or "ensemble"] = (val, test)
    results = [Result(name, *scores, chosen=name == chosen) for name, scores in entries.items()]
    best = metrics.get("best_single")
    single = Result("best single model", best.get("val", {}), best.get("test", {})) if best else None
    results += [single] if single else []
    if not (folder / "predictions.npz").exists():
        return Ensemble(results, single)
    with np.load(folder / "predictions.npz") as saved:
        return Ensemble(results, single, saved["y_test"], saved["test"], saved.get("best_single"))


def _json(path: Path) -> dict[str, Any]:
    """What stands in a JSON file; nothing where an older or unfinished build has none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(cell: str | None) -> float:
    return float(cell) if cell else math.nan


def render(report: Report) -> str:
    """The page, the same bytes for the same report; Plotly's JavaScript stands in it once."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"metric": metric, "short": plots.short, "duration": duration, "leaf": plots.leaf}
    return environment.get_template("report.html.j2").render(
        report=report,
        columns=columns(report.ensemble),
        gain=gain(report),
        paired=paired(report),
        figures=figures(report),
        chart=chart,
        tables=[trial_tables(sweep) for sweep in report.sweeps],
        plots=plots,
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
    ensemble = report.ensemble
    if ensemble and ensemble.truth is not None and ensemble.output is not None:
        if report.regression:
            found["predicted"] = plots.predicted_over_true(ensemble.truth, ensemble.output)
            found["residuals"] = plots.residuals(ensemble.truth, ensemble.output)
        else:
            found["confusion"] = plots.confusion(ensemble.truth, ensemble.output.argmax(1), report.class_names)
    return found


def sweep_figures(sweep: Sweep) -> dict[str, go.Figure]:
    found = {"history": plots.history(sweep.study)} if sweep.trials else {}
    if any(trial.intermediate_values for trial in sweep.trials):
        found["curves"] = plots.learning_curves(sweep.study)
    if sweep.losses[0]:
        found["losses"] = plots.losses(*sweep.losses)
    shares = plots.importances(sweep.study) or {}
    if shares:
        found["importance"] = plots.importance(shares)
        found |= {f"effect{index}": plots.effect(sweep.study, name) for index, name in enumerate(list(shares)[:4])}
    if sweep.best and sweep.best.params:
        order = [*shares, *(name for trial in plots.trials(sweep.study, "COMPLETE") for name in trial.params)]
        found["parallel"] = plots.parallel_coordinates(sweep.study, order)
    if sweep.lr_range.get("curve"):
        found["lr_range"] = plots.lr_range(sweep.lr_range["curve"], sweep.lr_range)
    return found


@dataclass(frozen=True)
class Table:
    """Trials in their order, each with its settings; exclusive branches that set the same key share a column."""

    trials: list[FrozenTrial]

    @property
    def names(self) -> dict[str, str]:
        return plots.brief(plots.leaf(name) for trial in self.trials for name in trial.params)

    def settings(self, trial: FrozenTrial) -> dict[str, Any]:
        return {plots.leaf(name): value for name, value in trial.params.items()}


def trial_tables(sweep: Sweep) -> dict[str, Table]:
    """The best trials, and those that went wrong and are not among them."""
    sign, complete = plots.sign(sweep.study), plots.trials(sweep.study, "COMPLETE")
    best = sorted(complete, key=lambda trial: (-sign * (trial.value or 0.0), trial.number))[:TOP]
    shown = {trial.number for trial in best}
    wrong = [t for t in sweep.trials if t.state is TrialState.FAIL or t.user_attrs["diagnosis"] not in FINE]
    return {"best": Table(best), "wrong": Table([trial for trial in wrong if trial.number not in shown])}


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
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


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
    rows = [(s.model, t.number, t.value or 0.0) for s in report.sweeps for t in plots.trials(s.study, "COMPLETE")]
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
