"""The files that a study leaves for the stages behind it: plain tables, equal whenever the history is."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from optuna.distributions import distribution_to_json

from src.bilevel.constants import with_constants
from src.config.space import Space
from src.diagnosis.rules import diagnosis_of, least
from src.metrics.listing import metrics
from src.population.checkpoint import Checkpoint
from src.study import lineage
from src.study.history import History, Reported, Trial
from src.study.study import Study
from src.sweeps.objectives import LATENCY
from src.sweeps.opening import Sweep
from src.system.errors import UserError, printable
from src.system.files import entries, write_bytes, write_json, write_npz, write_text
from src.system.tables import csv_text
from src.system.tensors import tensor_bytes
from src.system.trial_config import TrialConfig


def write(sweep: Sweep) -> None:
    """Fill the folder of a sweep; files that only an earlier sweep had left there go."""
    out, study, space = sweep.out, sweep.study, sweep.config.space
    _remove_leftovers(out, study)
    write_text(out / "trials.csv", trials_csv(study))
    write_text(out / "curves.csv", curves_csv(study))
    write_text(out / "progress.csv", progress_csv(study))
    stopped = {"stopped": sweep.stopped} if sweep.stopped else {}
    write_json(out / "summary.json", summary(study, space, sweep.config["search"]["name"]) | stopped | _proxy(sweep))
    if study.history.best is None:
        return
    line = [
        (until, trial_config(study, space, trial).to_json())
        for trial, until in study.history.lineage(study.history.best)
    ]
    *before, (_, best) = line
    earlier = {"earlier": [{"until": until, "config": config} for until, config in before]} if before else {}
    write_text(out / "best.yaml", yaml.safe_dump(best | earlier))
    if before and not _grown(study):
        write_text(out / "schedule.json", lineage.text(lineage.schedule(study.history)))
    write_json(out / "ranking.json", ranking(study, space))
    predictions: dict[str, np.ndarray[Any, Any]] = {}
    for trial in study.history.of("complete"):
        states = [Checkpoint.load(path) for path in study.checkpoints(trial.number, trial.epochs)]
        predictions[str(trial.number)] = torch.stack([state.predictions for state in states]).mean(0).numpy()
        for name, state in zip(_weights(study, trial), states, strict=True):
            write_bytes(out / "weights" / name, tensor_bytes(state.model_weights))
    write_npz(out / "predictions.npz", predictions)


def ranking(study: Study, space: Space) -> list[dict[str, Any]]:
    """The feasible complete trials, the best first, with their configs and the files of their weights."""
    best_first = sorted(study.history.feasible, key=lambda trial: (*study.history.losses(trial), trial.number))
    return [
        {"number": t.number, "value": t.value, "epochs": t.epochs, "weights": _weights(study, t)}
        | {"config": trial_config(study, space, t).to_json()}
        for t in best_first
    ]


def trial_config(study: Study, space: Space, trial: Trial) -> TrialConfig:
    """The config that a trial was trained by, with its number of epochs, and what it learnt of outer variables.

    Args:
        study: has the trial's curves.
        space: that its parameters are of.
        trial: the trial.
    """
    config = replace(space.trial(trial.params), epochs=trial.max_epochs)
    return with_constants(config, study.curves[trial.number])


def trials_csv(study: Study) -> str:
    """The trials, a row each: `number, state, value, epochs, diagnosis`, further measures, `parent`, `params.*`, `val/*`.

    A column `measured.*` is of a stopwatch: all others are the same in every run, it is not. `parent`, as in 3@8, is there
    where any trial has one. `val/*` is each metric of the validation rows at the epoch that counts.
    """
    names = sorted({name for trial in study.history.trials for name in trial.params})
    columns = {name: f"measured.{name}" if name == LATENCY else name for name in study.history.goals.measures}
    parents = ["parent"] * any(trial.start_from for trial in study.history.trials)
    reference, validation = least(study.curves), validation_metrics(study.history.trials)
    rows = [
        {"number": t.number, "state": t.state, "value": t.value, "epochs": t.epochs}
        | {"diagnosis": diagnosis_of(t.reason, study.curves[t.number], reference)}
        | {columns[n]: measure for n, measure in t.measures.items()}
        | {name: "@".join(map(str, t.start_from or ())) for name in parents}
        | {f"params.{n}": v for n, v in t.params.items()}
        | {n: t.metrics[n] for n in validation if n in t.metrics and n not in t.measures}
        for t in study.history.trials
    ]
    head = ["number", "state", "value", "epochs", "diagnosis", *columns.values(), *parents]
    head += [f"params.{n}" for n in names]
    head += [name for name in validation_metrics(study.history.trials) if name not in head]
    return csv_text(head, rows)


def validation_metrics(trials: Sequence[Trial]) -> list[str]:
    """List the metrics that any trial has of the validation rows, `val/<name>`, in the order of columns, loss first."""
    recorded = {name for trial in trials for name in trial.metrics}
    return [name for name in ("val/loss", *(f"val/{metric}" for metric in metrics())) if name in recorded]


def curves_csv(study: Study) -> str:
    """The curves, a row for each epoch of a trial: `number, epoch`, then a column a curve."""
    names = sorted({name for curves in study.curves for name in curves})
    rows = [
        {"number": number, "epoch": epoch + 1} | {name: curve[epoch] for name, curve in curves.items()}
        for number, curves in enumerate(study.curves)
        for epoch in range(study.history.trials[number].epochs)
    ]
    return csv_text(["number", "epoch", *names], rows)


def progress_csv(study: Study) -> str:
    """The progress, a row a report in virtual time: `epochs` of all trials and the `best` complete value so far."""
    history, rows, spent = study.history, [], 0
    before, best = [trial.inherited for trial in history.trials], None
    feasible = {trial.number for trial in history.feasible}
    better = max if history.direction == "maximize" else min
    for event in history.events:
        if isinstance(event, Reported):
            spent += event.epochs - before[event.trial]
            before[event.trial] = event.epochs
            if event.state == "complete" and event.trial in feasible:
                value = history.trials[event.trial].values[-1]
                best = value if best is None else better(best, value)
            rows.append({"epochs": spent, "best": best})
    return csv_text(["epochs", "best"], rows)


def summary(study: Study, space: Space, search: str) -> dict[str, Any]:
    """The outcome of the sweep, and the distributions that its parameters were drawn from.

    Args:
        study: with all its trials.
        space: that the parameters are of.
        search: the name of the strategy.
    """
    history, best = study.history, study.history.best
    second = {str(t.number): history.second_values.get(t.number) for t in history.contenders}
    count = Counter(trial.state for trial in history.trials)
    distributions = {n: d for t in history.trials for n, d in space.distributions(t.params).items()}
    return {
        "study": study.name,
        "fingerprint": study.attributes["fingerprint"],
        "search": search,
        "n_trials": len(history.trials),
        "states": {state: count[state] for state in ("complete", "pruned", "fail")},
        "best_number": best.number if best else None,
        "best_value": best.value if best else None,
        **({"second_values": second} if second else {}),
        "metric": study.attributes["metric"],
        "direction": history.direction,
        **_goals(study),
        "distributions": {n: distribution_to_json(d) for n, d in sorted(distributions.items())},
    }


def _proxy(sweep: Sweep) -> dict[str, Any]:
    """Measure how well the proxy follows the values of the complete trials, by Spearman's correlation."""
    if sweep.proxy is None:
        return {}
    from scipy.stats import spearmanr  # slow to import, and seldom needed

    trials = [trial for trial in sweep.study.history.of("complete") if trial.value is not None]
    sign = -1 if sweep.study.history.direction == "minimize" else 1
    values = [sign * trial.value for trial in trials if trial.value is not None]
    scores = [sweep.proxy(trial_config(sweep.study, sweep.config.space, trial)) for trial in trials]
    several = len(set(values)) > 1 and len(set(scores)) > 1
    return {"proxy": {"name": sweep.proxy.name, "spearman": float(spearmanr(scores, values)[0]) if several else None}}


def _goals(study: Study) -> dict[str, Any]:
    """The Pareto front, best value first, and the constraints, where there are any."""
    history = study.history
    front = [{"number": t.number, "value": t.value, **t.measures} for t in history.front]
    several = {"minimized": list(history.goals.minimized), "front": front} if history.goals.minimized else {}
    return several | ({"constraints": dict(history.goals.bounds)} if history.goals.bounds else {})


def failure(study: Study, label: str) -> str:
    """The sentence that says why there is no best trial, the commonest reason first."""
    total = len(study.history.trials)
    if complete := list(study.history.of("complete")):
        least = {n: min(t.measures[n] for t in complete) for n in study.history.goals.bounds}
        bounds = [f"{n} ≤ {study.history.goals.bounds[n]:,.10g} (the least is {v:,.10g})" for n, v in least.items()]
        which = f"none of the {len(complete)} complete trials of {label} is within {' and '.join(bounds)}"
        return f"objective.constraints: {which}; raise the bound, or try more trials"
    reasons = Counter(trial.reason.text for trial in study.history.of("fail")).most_common()
    if not reasons:
        return f"no trial of {label} is complete: all {total} were pruned; choose a milder search.pruner"
    (reason, count), *others = reasons
    rest = "; ".join(f"{count} with: {reason}" for reason, count in others)
    return f"no trial of {label} is complete: {count} of {total} failed with: {reason}{'; ' * bool(rest)}{rest}"


def write_timing(sweep: Sweep, runs: Mapping[str, str], began: float, trained: float, trials: int) -> None:
    """Write `timing.json`.

    Args:
        sweep: the sweep that has ended.
        runs: the ids of its runs in MLflow, by key.
        began: the monotonic clock at the start of the stage, in seconds.
        trained: the same after the last trial.
        trials: how many ended since the start.
    """
    now = time.monotonic()
    times = {"wall_s": now - began, "train_s": trained - began, "tracking_s": now - trained}
    scoring = {"proxy_s": sweep.proxy.seconds} if sweep.proxy else {}
    speed = {"trials_per_minute": 60 * trials / (now - began), "workers_busy": sweep.engine.busy()}
    write_json(sweep.out / "timing.json", {**times, **speed, **scoring, **timing(sweep.study, runs)})


def print_notes(sweep: Sweep) -> None:
    """Print what a person should know of a sweep that has ended.

    Raises:
        UserError: it has no best trial.
    """
    for note in sorted(sweep.loop.notes):
        print(f"{sweep.label}: trained one by one, since {note}")
    history, best = sweep.study.history, sweep.study.history.best
    if history.contenders and best is not None and best is not (first := history.contenders[0]):
        print(f"{sweep.label}: trial {best.number} is chosen, since trial {first.number} was {_luck(history, first)}")
    if sweep.loop.traceback:
        print(f"{sweep.label}: the first trial that failed by an error of its code:\n{printable(sweep.loop.traceback)}")
    if sweep.proxy and (rank := _proxy(sweep)["proxy"]):
        follows = (
            "cannot be compared with" if rank["spearman"] is None else f"follows (Spearman {rank['spearman']:.2f})"
        )
        print(f"{sweep.label}: search.proxy={rank['name']} {follows} the values, and took {sweep.proxy.seconds:.1f} s")
    if sweep.stopped:
        print(f"{sweep.label}: stopped, since {sweep.stopped}")
    if sweep.study.history.best is None:
        raise UserError(failure(sweep.study, sweep.label))


def _luck(history: History, trial: Trial) -> str:
    """The words for a trial that a second seed did not bear out."""
    second = history.second_values[trial.number]
    return f"the best by luck: {trial.values[-1]:.4g}, with a second seed " + (
        "it fails" if second is None else f"{second:.4g}"
    )


def timing(study: Study, runs: Mapping[str, str]) -> dict[str, Any]:
    """The ids of runs, and seconds; they differ from run to run, so no stage depends on them."""
    trials = {
        str(t.number): {"run_id": runs.get(f"trial-{t.number}"), "seconds": study.seconds[t.number]}
        for t in study.history.trials
    }
    return {"mlflow_run_id": runs.get("sweep"), "segment_s": study.segments, "trials": trials}


def _weights(study: Study, trial: Trial) -> list[str]:
    """The files of a complete trial's weights: one, or under cross-validation one a fold."""
    stem = f"{trial.number}-{trial.epochs}"
    return [f"{trial.number}{path.name.removeprefix(stem)}" for path in study.checkpoints(trial.number, trial.epochs)]


def _remove_leftovers(out: Path, study: Study) -> None:
    weights = {name for trial in study.history.of("complete") for name in _weights(study, trial)}
    for path in [*out.glob(".*.tmp"), *entries(out / "weights")]:
        if path.name not in weights:
            path.unlink(missing_ok=True)
    gone = ["best.yaml", "ranking.json", "predictions.npz"] if study.history.best is None else []
    single = len(lineage.schedule(study.history)) < 2 or _grown(study)
    for name in (*gone, *["schedule.json"] * single):
        (out / name).unlink(missing_ok=True)


def _grown(study: Study) -> bool:
    """Tell whether the best trial's weights began in a smaller net: then its parts are no schedule of one."""
    best = study.history.best
    return best is not None and any(trial.weights_only for trial, _ in study.history.lineage(best))
