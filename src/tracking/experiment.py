"""The experiment of a data set: made once, with a kind, a description and a view of its runs."""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from src.system.errors import UserError
from src.tracking.pages import VIEW, runs_page

KIND, NOTE = "mlflow.experimentKind", "mlflow.note.content"
METRICS = (  # of the runs' table, as far as runs have them; beside the best figures of sweeps
    "test/accuracy",
    "test/rmse",
    "val/accuracy",
    "val/rmse",
    "val/loss",
    "epochs",
)
OTHERS = ("tags.`lockstep.state`", "tags.`lockstep.diagnosis`", "attributes.`Duration`")


def find_or_make(client: MlflowClient, name: str, artifacts: Path | None) -> Experiment:
    """Find the experiment `name` by `client`, or make it with its files below `artifacts` (None: where the server decides).

    Raises:
        UserError: it was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if not experiment:
        folder = (artifacts / quote(name, safe="")).as_uri() if artifacts else None
        with suppress(MlflowException):  # another process was faster
            client.create_experiment(name, folder)
        experiment = client.get_experiment_by_name(name)
    if not experiment or experiment.lifecycle_stage != "active":
        raise UserError(
            f"MLflow's experiment {name!r} was deleted: `mlflow experiments restore` it, or name another tracking.uri."
        )
    number = str(experiment.experiment_id)
    _set_missing(client, experiment, {KIND: "custom_model_development", NOTE: _note(name, number)})
    return experiment


def choose_columns(client: MlflowClient, experiment: Experiment, metrics: Iterable[str]) -> None:
    """Give the experiment a view with the columns that matter, and a column more once runs have a further one of `METRICS`.

    `client` sets it on `experiment`, whose description links to it: MLflow keeps the columns of a page in the browser, and
    takes others from such a view alone. A view that a person has changed stands.

    Args:
        client: MLflow's.
        experiment: its `tags` follow.
        metrics: the names that a run has.
    """
    view = experiment.tags.get(VIEW)
    before = set(re.findall("metrics.`([^`]+)`", view or ""))
    names = before | {name for name in metrics if name in METRICS or name.startswith("best/")}
    if names != before and view in (None, _view(before)):
        experiment.tags[VIEW] = _view(names)
        client.set_experiment_tag(experiment.experiment_id, VIEW, experiment.tags[VIEW])


def _view(metrics: Iterable[str]) -> str:
    """Write a view that MLflow shows as a tree, which it does in the order of time alone."""
    columns = [*(f"metrics.`{name}`" for name in sorted(metrics)), *OTHERS]
    return json.dumps({"selectedColumns": columns, "orderByKey": "attributes.start_time", "orderByAsc": False})


def _set_missing(client: MlflowClient, experiment: Any, tags: dict[str, str]) -> None:
    """Set tags that the experiment does not have yet: what a person wrote there stands."""
    for key in tags.keys() - experiment.tags.keys():
        client.set_experiment_tag(experiment.experiment_id, key, tags[key])
        experiment.tags[key] = tags[key]


def _note(name: str, number: str) -> str:
    return f"""Lockstep on {name}: **[the runs, with the columns that matter]({runs_page(number)[1:]})**

A sweep is a run, with a run below it for each trial (parameters, curves, diagnosis, model). `train` has a run for each final
member, `ensemble` one for the chosen ensemble; its model has the data set's name in the registry, its artifacts the report.

* the complete trials: search for `tags."lockstep.state" = 'complete'`
* those that overfit: `tags."lockstep.diagnosis" LIKE 'overfitting%'`
* the final members: `tags."lockstep.stage" = 'train'`; the ensemble: `tags."lockstep.stage" = 'ensemble'`
* next: `python -m src.sweep n_trials=…` adds trials, `python -m src.diagnose <run>` explains one
"""
