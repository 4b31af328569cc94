"""The registered models: the ensemble as a full MLflow model, and which of its versions is the champion."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _use_tracking_uri

from src.system.errors import UserError, masked
from src.tracking.champion import Contender, line, promote
from src.tracking.change import folder_digest
from src.tracking.obstacles import curable, obstacle
from src.tracking.record import RunRecord
from src.tracking.runs import BUNDLE, FINGERPRINT, KEY, Runs
from src.tracking.uri import absolute, artifacts
from src.tracking.writer import PATIENCE

_SOURCE = Path(__file__).parents[1]
_PACKAGES = (
    "torch",
    "numpy",
    "pandas",
    "pydantic",
    "scikit-learn",
    "skops",
    "safetensors",
    "rtdl-num-embeddings",
    "tabm",
)


def register(
    uri: str,
    experiment: str,
    record: RunRecord,
    bundle: Path,
    example: Any,
    answer: Any,
    name: str,
    contender: Contender,
) -> dict[str, Any]:
    """Log a bundle as the model of a run, register it, and give it its alias.

    The same bundle under the same fingerprint and key is registered once. No Tracker may be writing the fingerprint
    meanwhile.

    Args:
        uri: the address of MLflow.
        experiment: the name of the experiment, that of the data set.
        record: the run of the ensemble.
        bundle: the folder with the model.
        example: some raw rows, as the model takes them.
        answer: the predictions of the bundle for `example`.
        name: the name in the registry, that of the data set; where another table bears it, the table's digest is added.
        contender: what it is compared with the champion by.

    Returns:
        name, version, alias, why it has that alias, run_id, model_uri and experiment_id.

    Raises:
        UserError: MLflow stayed away for 90 s.
    """
    began = time.monotonic()
    while True:
        try:
            with _mlflow_at(absolute(uri)):
                return _register(absolute(uri), experiment, record, bundle, example, answer, name, contender)
        except Exception as error:
            if not curable(error):
                raise
            if time.monotonic() > began + PATIENCE:
                raise UserError(
                    f"tracking.uri={masked(uri)}: {obstacle(error)}, for more than {PATIENCE:.0f} s."
                ) from error
        time.sleep(1.0)


def _register(
    uri: str,
    experiment: str,
    record: RunRecord,
    bundle: Path,
    example: Any,
    answer: Any,
    name: str,
    contender: Contender,
) -> dict[str, Any]:
    runs = Runs(uri, experiment, Path(sys.argv[0]).name, artifacts(uri))
    runs.claim(record.fingerprint, {record.key})
    try:
        name = line(runs.client, name, contender.table)
        identity = {FINGERPRINT: record.fingerprint, KEY: record.key, BUNDLE: folder_digest(bundle)}
        registered = _find(runs.client, name, identity)
        if registered is None:
            run_id = runs.write(replace(record, state="RUNNING", model=None))
            model_id = _log(runs, run_id, record, bundle, example, answer)
            with suppress(MlflowException):  # it exists
                runs.client.create_registered_model(name)
            tags = identity | contender.tags
            registered = runs.client.create_model_version(name, f"models:/{model_id}", run_id, tags, model_id=model_id)
        elif not _has_files(runs.client, model_id := str(registered.source).rpartition("/")[2]):
            _log(runs, str(registered.run_id), record, bundle, example, answer, model_id)
        run_id = runs.write(replace(record, model=None))
        alias, reason = promote(runs.client, registered, contender)
    except BaseException:
        with suppress(Exception):
            runs.kill_running()
        raise
    finally:
        runs.release()
    address = f"models:/{name}/{registered.version}"
    version = {"name": name, "version": str(registered.version), "alias": alias, "reason": reason}
    return version | {"run_id": run_id, "model_uri": address, "experiment_id": runs.experiment_id}


def _find(client: MlflowClient, name: str, identity: dict[str, str]) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}'")
    return next((version for version in versions if identity.items() <= version.tags.items()), None)


def _has_files(client: MlflowClient, model_id: str) -> bool:
    """Tell whether the files of a logged model are still in MLflow."""
    return {"MLmodel", "data", "code"} <= {file.path for file in client.list_logged_model_artifacts(model_id)}


def _log(
    runs: Runs, run_id: str, record: RunRecord, bundle: Path, example: Any, answer: Any, model_id: str | None = None
) -> str:
    """Log the bundle as a full MLflow model, with its code, requirements and signature; returns the id of the model.

    One with a `model_id` is written again: its run has it as an output already, and MLflow refuses a second link.
    """
    linked = model_id is not None
    if model_id is None:
        model = runs.client.create_logged_model(runs.experiment_id, "model", run_id, model_type="ensemble")
        model_id = str(model.model_id)
    Model.log(
        artifact_path=None,
        flavor=mlflow.pyfunc,
        run_id=None if linked else run_id,
        model_id=model_id,
        step=max(map(len, record.curves.values()), default=0),
        loader_module="src.serving",
        data_path=str(bundle),
        code_paths=[str(_SOURCE)],
        signature=_signature(example, answer),
        input_example=example,
        pip_requirements=[f"{package}=={version(package).split('+')[0]}" for package in _PACKAGES],
    )
    return model_id


def _signature(example: Any, answer: Any) -> ModelSignature:
    """Infer the signature as MLflow does, but without the columns of a table: the model reads and refuses cells itself.

    MLflow would refuse whole numbers where a column has fractions, missing cells where it has none, and no type of its own
    takes both.
    """
    inferred: ModelSignature = infer_signature(example, answer)
    if hasattr(example, "columns"):
        inferred.inputs = None
    return inferred


@contextmanager
def _mlflow_at(uri: str) -> Iterator[None]:
    """Set MLflow's global address for a block; it and the search path, which MLflow extends, are restored at its end.

    Deprecations inside MLflow and its libraries are not our users' to mend, and its words on progress are no news.
    """
    path, variable = list(sys.path), os.environ.get("MLFLOW_TRACKING_URI")
    logger = logging.getLogger("mlflow")
    level = logger.level
    try:
        logger.setLevel(logging.WARNING)
        with _use_tracking_uri(uri), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(mlflow|sqlalchemy|pydantic|fastapi)\b")
            yield
    finally:
        logger.setLevel(level)
        sys.path[:] = path
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable
