"""The experiment of a data set: made once, with a kind, a description and a view of its runs."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from src.system.errors import UserError

KIND, NOTE, VIEW = "mlflow.experimentKind", "mlflow.note.content", "mlflow.sharedViewState.lockstep"
COLUMNS = (
    "val/accuracy",
    "val/rmse",
    "val/loss",
    "test/accuracy",
    "test/rmse",
    "seconds",
    "epochs",
)  # as far as they are
TAGS = ("lockstep.state", "lockstep.diagnosis")


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
    """Give the experiment a view with the columns that matter, once runs have `metrics` for them.

    `client` sets it on `experiment`, whose description links to it: MLflow keeps the columns of a page in the browser, and
    takes others from such a view alone.
    """
    shown = set(metrics)
    columns = [f"metrics.`{name}`" for name in COLUMNS if name in shown]
    columns += [*(f"tags.`{name}`" for name in TAGS), "attributes.`Duration`"]
    view = {"selectedColumns": columns, "orderByKey": "attributes.`start_time`", "orderByAsc": False}
    _set_missing(client, experiment, {VIEW: json.dumps(view)})


def _set_missing(client: MlflowClient, experiment: Any, tags: dict[str, str]) -> None:
    """Set tags that the experiment does not have yet: what a person wrote there stands."""
    for key in tags.keys() - experiment.tags.keys():
        client.set_experiment_tag(experiment.experiment_id, key, tags[key])
        experiment.tags[key] = tags[key]


def runs_page(number: str) -> str:
    """Give the address of an experiment's runs in MLflow's pages, after the host.

    By itself MLflow 3.17 opens every experiment for GenAI, whatever its kind, until the browser is told otherwise.
    """
    return f"/#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey=lockstep"


def _note(name: str, number: str) -> str:
    return f"""**[The runs]({runs_page(number)[1:]})** of Lockstep on `{name}`, with the columns that matter.

A sweep is a run, with a run below it for each trial (parameters, curves, diagnosis, model). `train` has a run for each final
member, `ensemble` one for the chosen ensemble: its model is registered as `{name}`, its artifacts have the report.

* the complete trials: search for `tags."lockstep.state" = 'complete'`
* those that overfit: `tags."lockstep.diagnosis" LIKE 'overfitting%'`
* the final members: `tags."lockstep.stage" = 'train'`; the ensemble: `tags."lockstep.stage" = 'ensemble'`
* next: `python -m src.sweep n_trials=…` adds trials, `python -m src.diagnose <run>` explains one
"""
