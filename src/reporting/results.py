"""The files that the stages wrote under `outputs/`, read back so that they can be shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from src.diagnosis.rules import KINDS, kind_of
from src.reporting import plots
from src.reporting.advice import DiagnosedTrial, advise
from src.system.arrays import read_npz
from src.system.cell_string import NAMES, cell_string, parsed_cell
from src.system.errors import UserError
from src.system.passed_over import passed_over
from src.system.read_back import read_json, read_yaml
from src.system.tables import read_csv

AGAIN = "run the stage that wrote it again"
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "fail": TrialState.FAIL}


@dataclass(frozen=True)
class Sweep:
    """The results of one model's sweep."""

    model: str
    study: optuna.Study
    summary: Mapping[str, Any]
    losses: tuple[list[int], list[float], list[float]]  # the best trial's epochs, train/loss, val/loss
    timing: Mapping[str, Any]
    lr_range: Mapping[str, Any]
    cell: Mapping[str, str] = field(default_factory=dict)  # the best trial's operation on each edge
    supernet: Mapping[str, list[float]] = field(default_factory=dict)  # curves of the supernet that it was derived from

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    @cached_property
    def best(self) -> FrozenTrial | None:
        """The best trial; None where none is complete."""
        return plots.best_trial(self.study)

    @cached_property
    def compared(self) -> optuna.Study:
        """The study in which trials can be compared fairly, as `comparable` makes it."""
        return comparable(self.study)

    @property
    def states(self) -> Counter[str]:
        """The number of trials in each state."""
        return Counter(trial.state.name.lower() for trial in self.trials)

    @property
    def diagnoses(self) -> list[tuple[str, int]]:
        """The kinds of diagnoses with their numbers of trials, the commonest first."""
        numbers = Counter(kind_or_reason(trial) for trial in self.trials)
        return sorted(((name, n) for name, n in numbers.items() if name), key=lambda item: (-item[1], item[0]))

    @cached_property
    def diagnosed_trials(self) -> list[DiagnosedTrial]:
        """All trials with the kinds of their diagnoses."""
        return [DiagnosedTrial(kind_or_reason(t), t.params, t.distributions, t.value) for t in self.trials]

    @property
    def advice(self) -> list[str]:
        """Changes to the space that the diagnoses speak for, a sentence each."""
        return advise(self.diagnosed_trials, plots.sign(self.study) > 0)

    def seconds(self, trial: FrozenTrial) -> Any:
        """Look up how long a trial trained; None where timing.json does not say."""
        return self.timing.get("trials", {}).get(str(trial.number), {}).get("seconds")


def kind_or_reason(trial: FrozenTrial) -> str:
    """Name the kind of a trial's diagnosis, or else its reason in full."""
    text = str(trial.user_attrs["diagnosis"])
    kind = kind_of(text)
    return kind if kind in KINDS else text


@dataclass(frozen=True)
class Result:
    """One line of the results table: an ensemble or the best single model."""

    name: str
    val: Mapping[str, float]
    test: Mapping[str, float]
    chosen: bool = False


@dataclass(frozen=True)
class Ensemble:
    """The results of stage `ensemble`: scores of every ensemble, predictions of the test rows, further figures."""

    results: list[Result]
    single: Result | None
    registered: Mapping[str, Any]
    truth: NDArray[Any] | None = None
    output: NDArray[Any] | None = None  # probabilities [N,C], or values [N]
    single_output: NDArray[Any] | None = None
    judged: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> Result:
        """The line of the ensemble that was chosen on the validation rows."""
        return next(result for result in self.results if result.chosen)


@dataclass(frozen=True)
class Report:
    """Everything that the page shows. `meta` is the prepared data's meta.json, or what could be inferred without it."""

    sweeps: list[Sweep]
    ensemble: Ensemble | None
    meta: Mapping[str, Any] = field(default_factory=dict)
    comparison: Mapping[str, Any] = field(default_factory=dict)  # of the multirun that the sweeps were part of
    unsuitable: Mapping[str, str] = field(default_factory=dict)  # why models were passed over, by their names

    @property
    def regression(self) -> bool:
        """True where the target is a number."""
        return bool(self.meta["task"] == "regression")

    @property
    def metric(self) -> str:
        """The name of the metric that comes first on the page."""
        return "rmse" if self.regression else "accuracy"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, or their numbers; none for a regression."""
        classes = 0 if self.ensemble is None or self.ensemble.output is None else self.ensemble.output.shape[-1]
        return [str(name) for name in self.meta.get("class_names") or range(classes)]

    @property
    def profile(self) -> list[Mapping[str, Any]]:
        """A line for each column of the raw data, those with a note first."""
        return sorted(self.meta.get("profile", ()), key=lambda line: not line.get("note"))

    @property
    def wall_s(self) -> float | None:
        """Seconds of all sweeps together; None where one does not say."""
        times = [sweep.timing["wall_s"] for sweep in self.sweeps if "wall_s" in sweep.timing]
        return sum(times) if len(times) == len(self.sweeps) else None


def read(outputs: Path, models: Sequence[str], prepared: Path | None = None) -> Report:
    """Read everything under `outputs` for `models`; whatever is missing beside a sweep is left out.

    `prepared` is the folder of the prepared data.

    Raises:
        UserError: `models` is empty or all were passed over, or the sweep of one is not there.
    """
    if not models:
        raise UserError("models is empty: name at least one model whose sweep the report shall show")
    unsuitable = passed_over(outputs / "sweep", models)
    models = [model for model in models if model not in unsuitable]
    sweeps = [read_sweep(outputs, model) for model in models]
    members = _json(outputs / "train" / models[0] / "members.json")
    guess = "regression" if plots.metric(sweeps[0].study) == "val/rmse" else "classification"
    inferred = {"task": members.get("task", guess), "sha256": members.get("sha256")}
    meta = _json(prepared / "meta.json") if prepared else {}
    comparison = _json(outputs.parent / "comparison.json")
    return Report(sweeps, read_ensemble(outputs / "ensemble"), {**inferred, **meta}, comparison, unsuitable)


def read_sweep(outputs: Path, model: str) -> Sweep:
    """Read what the sweep and the range test of one model wrote.

    Raises:
        UserError: its trials.csv is not there.
    """
    folder = outputs / "sweep" / model
    if not (folder / "trials.csv").exists():
        raise UserError(f"{folder / 'trials.csv'} is not there: run `dvc repro` or drop {model!r} from models")
    summary, curves = _json(folder / "summary.json"), read_csv(folder / "curves.csv", AGAIN)
    study = read_study(read_csv(folder / "trials.csv", AGAIN), curves, summary)
    best = plots.best_trial(study)
    mine = [row for row in curves if best and int(row["number"]) == best.number]
    train, val = ([_number(row.get(name)) for row in mine] for name in ("train/loss", "val/loss"))
    losses = [int(row["epoch"]) for row in mine], train, val
    lr_range = _json(outputs / "lr_range" / model / "lr_range.json")
    cell = _cell(folder / "best.yaml")
    return Sweep(
        model, study, summary, losses, _json(folder / "timing.json"), lr_range, cell, _supernet(study, curves, cell)
    )


def _cell(path: Path) -> dict[str, str]:
    """Read the operation on each edge from a best.yaml; empty for a net without cells."""
    written = read_yaml(path, AGAIN) if path.exists() else {}
    operations = written.get("model", {}).get("operations") or {}
    edges = parsed_cell(operations) if isinstance(operations, str) else dict(operations)
    return edges if edges.keys() == set(NAMES) else {}


def _supernet(
    study: optuna.Study, curves: Sequence[Mapping[str, str]], cell: Mapping[str, str]
) -> dict[str, list[float]]:
    """Select the curves of the first supernet that ended with a cell; empty where there is none."""
    ending = f"supernet: its cell is {cell_string(cell)}" if cell else ""
    trials = study.get_trials(deepcopy=False)
    numbers = [trial.number for trial in trials if cell and trial.user_attrs["diagnosis"] == ending]
    rows = [row for row in curves if numbers and int(row["number"]) == numbers[0]]
    return {name: [_number(row[name]) for row in rows] for name in (rows[0] if rows else ()) if rows[0][name]}


def read_study(
    table: Sequence[Mapping[str, str]], curves: Sequence[Mapping[str, str]], summary: Mapping[str, Any]
) -> optuna.Study:
    """Make an Optuna study again of `table` (trials.csv), `curves` (curves.csv) and `summary` (summary.json)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=summary.get("direction", "maximize"))
    study.set_user_attr("metric", metric := summary.get("metric", "value"))
    study.set_user_attr("best_number", summary.get("best_number"))
    study.set_user_attr("minimized", minimized := summary.get("minimized", []))
    study.set_user_attr("constraints", bounds := summary.get("constraints", {}))
    study.set_user_attr("front", [trial["number"] for trial in summary.get("front", [])])
    space = {name: json_to_distribution(kind) for name, kind in summary.get("distributions", {}).items()}
    reports: dict[int, dict[int, float]] = {}
    for row in curves:
        reports.setdefault(int(row["number"]), {})[int(row["epoch"])] = _number(row.get(metric))
    by_number = {int(row["number"]): row for row in table}
    gap = {"state": "fail", "value": "", "diagnosis": "not in trials.csv"}
    for number in range(max(by_number, default=-1) + 1):
        row = by_number.get(number, gap)
        cells = {name: row.get(name) or row.get(f"measured.{name}") for name in (*minimized, *bounds)}
        measures = {name: _number(cell) for name, cell in cells.items()}
        within = all(not measures[name] > bound for name, bound in bounds.items())
        attributes: dict[str, Any] = {name: row.get(name) or "" for name in ("diagnosis", "epochs")}
        attributes |= {"measures": measures, "feasible": within}
        study.add_trial(_trial(row, space, reports.get(number, {}), attributes))
    return study


def _trial(
    row: Mapping[str, str],
    space: Mapping[str, BaseDistribution],
    reports: dict[int, float],
    attributes: Mapping[str, Any],
) -> FrozenTrial:
    """Make Optuna's trial of a row of trials.csv, with its `reports` by epoch; one without a finite value has failed."""
    cells = {name: _param(name, kind, row.get(f"params.{name}") or "") for name, kind in space.items()}
    params = {name: cell for name, cell in cells.items() if cell is not MISSING}
    value, state = _number(row["value"]), STATES[row["state"]]
    if state is TrialState.PRUNED and not math.isfinite(value):
        value = next(reversed(reports.values()), math.nan)  # as Optuna does
    if state is TrialState.COMPLETE and not math.isfinite(value):
        state = TrialState.FAIL
    return create_trial(
        state=state,
        value=value if math.isfinite(value) and state is not TrialState.FAIL else None,
        params=params,
        distributions={name: space[name] for name in params},
        intermediate_values=reports,
        user_attrs=dict(attributes),
    )


def comparable(study: optuna.Study) -> optuna.Study:
    """Make a study of which enough trials are complete to compare their parameters.

    The study itself serves, unless pruning left too few: then its trials as they were at the latest epoch that a quarter
    of them reached (attribute `epoch`), the others as failed, so that numbers stay.
    """
    trials = study.get_trials(deepcopy=False)
    finite = [{e: v for e, v in trial.intermediate_values.items() if math.isfinite(v)} for trial in trials]
    reached = Counter(epoch for values in finite for epoch in values)
    enough = max(plots.MIN_TRIALS, len(trials) // 4)
    epoch = max((epoch for epoch, n in reached.items() if n >= enough), default=None)
    if epoch is None or len(plots.trials(study, "COMPLETE")) >= plots.MIN_TRIALS:
        return study
    view = optuna.create_study(direction=study.direction)
    view.set_user_attr("metric", f"{plots.metric(study)}, epoch {epoch}")
    view.set_user_attr("epoch", epoch)
    for trial, values in zip(trials, finite, strict=True):
        state = TrialState.COMPLETE if epoch in values else TrialState.FAIL
        copy = create_trial(
            state=state, value=values.get(epoch), params=trial.params, distributions=trial.distributions
        )
        view.add_trial(copy)
    return view


MISSING = object()


def _param(name: str, kind: BaseDistribution, cell: str) -> Any:
    """Convert a cell of trials.csv to the type of its parameter; MISSING where this trial has none."""
    if isinstance(kind, CategoricalDistribution):
        wanted = cell or ("" if "/" in name else "None")  # an empty cell is the choice None, but not under a branch
        return next((choice for choice in kind.choices if str(choice) == wanted), MISSING)
    number = _number(cell)
    return kind.to_external_repr(number) if cell and kind._contains(number) else MISSING


def read_ensemble(folder: Path) -> Ensemble | None:
    """Read what stage `ensemble` wrote into `folder`; None where it has not run."""
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
    title = f"best single model ({best['name']})" if best and "name" in best else "best single model"
    single = Result(title, best.get("val", {}), best.get("test", {})) if best else None
    if judged := metrics.get("judged") if metrics.get("refit") else None:  # the row above is as it is served
        results.append(Result(f"{chosen}, as judged before the refit", judged["val"], judged["test"]))
    results += [single] if single else []
    baselines = metrics.get("baselines", {}).items()
    results += [Result(f"baseline: {name}", scores["val"], scores["test"]) for name, scores in baselines]
    registered = _json(folder / "registered.json")
    ensemble = Ensemble(
        results,
        single,
        registered,
        judged=_json(folder / "judged.json"),
        metrics=metrics,
        timing=_json(folder / "timing.json"),
    )
    predictions = folder / "predictions.npz"
    if not predictions.exists():
        return ensemble
    truth, output, other = (read_npz(predictions, name, AGAIN) for name in ("y_test", "test", "best_single"))
    return replace(ensemble, truth=truth, output=output, single_output=other)


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON file; an empty one where an older or unfinished build has none."""
    return dict(read_json(path, AGAIN)) if path.exists() else {}


def _number(cell: str | None) -> float:
    return float(cell) if cell else math.nan
