"""The registered models: the ensemble as a full MLflow model, and which of its versions is the champion."""

import logging
import math
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
from mlflow.types.schema import AnyType, ColSpec, Schema

from src.system.errors import UserError, masked
from src.tracking.change import folder_digest
from src.tracking.record import RunRecord
from src.tracking.runs import BUNDLE, FINGERPRINT, KEY, Runs, curable
from src.tracking.uri import absolute, artifacts
from src.tracking.writer import PATIENCE, first_line

VALUE, DATA, ALIAS = "lockstep.val", "lockstep.sha256", "lockstep.alias"
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
    value: float,
    higher_is_better: bool,
    sha256: str,
) -> dict[str, Any]:
    """Log `bundle` as the model of the run `record`, register it as `name`, and crown it where it is better.

    The version becomes `champion` when there is none, or when `value`, on validation, beats the champion's on the same data
    (`sha256`); else `challenger`. The same bundle under the same fingerprint and key is registered once. `example` are
    raw rows, `answer` is what the bundle predicts for them. No Tracker may be writing the fingerprint meanwhile. Returns
    name, version, alias, run_id and model_uri.

    Raises:
        UserError: MLflow stayed away for 90 s.
    """
    began = time.monotonic()
    while True:
        try:
            with _mlflow_at(absolute(uri)):
                return _register(
                    absolute(uri), experiment, record, bundle, example, answer, name, value, higher_is_better, sha256
                )
        except Exception as error:
            if not curable(error):
                raise
            if time.monotonic() > began + PATIENCE:
                raise UserError(
                    f"tracking.uri={masked(uri)}: {first_line(error)}, for more than {PATIENCE:.0f} s."
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
    value: float,
    higher_is_better: bool,
    sha256: str,
) -> dict[str, Any]:
    runs = Runs(uri, experiment, Path(sys.argv[0]).name, artifacts(uri))
    runs.claim(record.fingerprint, {record.key})
    try:
        identity = {FINGERPRINT: record.fingerprint, KEY: record.key, BUNDLE: folder_digest(bundle)}
        known = _find(runs.client, name, identity)
        if known is None:
            run_id = runs.write(replace(record, state="RUNNING", model=None))
            model_id = _log(runs, run_id, record, bundle, example, answer)
            with suppress(MlflowException):  # it exists
                runs.client.create_registered_model(name)
            tags = identity | {VALUE: repr(float(value)), DATA: sha256}
            known = runs.client.create_model_version(name, f"models:/{model_id}", run_id, tags, model_id=model_id)
        run_id = runs.write(replace(record, model=None))
        alias = promote(runs.client, known, value, higher_is_better, sha256)
    except BaseException:
        with suppress(Exception):
            runs.kill_running()
        raise
    finally:
        runs.release()
    address = f"models:/{name}/{known.version}"
    return {"name": name, "version": str(known.version), "alias": alias, "run_id": run_id, "model_uri": address}


def _find(client: MlflowClient, name: str, identity: dict[str, str]) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}'")
    return next((version for version in versions if identity.items() <= version.tags.items()), None)


def _log(runs: Runs, run_id: str, record: RunRecord, bundle: Path, example: Any, answer: Any) -> str:
    """The id of the bundle as a full MLflow model: with the code that runs it, what that needs, and what it takes."""
    model = runs.client.create_logged_model(runs.experiment_id, "model", run_id, model_type="ensemble")
    Model.log(
        artifact_path=None,
        flavor=mlflow.pyfunc,
        run_id=run_id,
        model_id=model.model_id,
        step=max(map(len, record.curves.values()), default=0),
        loader_module="src.serving",
        data_path=str(bundle),
        code_paths=[str(_SOURCE)],
        signature=_signature(example, answer),
        input_example=example,
        pip_requirements=[f"{package}=={version(package).split('+')[0]}" for package in _PACKAGES],
    )
    return str(model.model_id)


def _signature(example: Any, answer: Any) -> ModelSignature:
    """As MLflow infers it, but that a table's cells are left to `data.transform` to check.

    MLflow would refuse a whole number in a column that had fractions, and a missing word in one that had none.
    """
    inferred: ModelSignature = infer_signature(example, answer)
    if hasattr(example, "columns"):
        anything: Any = AnyType  # untyped
        inferred.inputs = Schema([ColSpec(anything(), str(name)) for name in example.columns])
    return inferred


def promote(client: MlflowClient, candidate: ModelVersion, value: float, higher_is_better: bool, sha256: str) -> str:
    """Give `candidate` its alias, once: what a person does to aliases later stands."""
    if ALIAS in candidate.tags:
        return str(candidate.tags[ALIAS])
    champion = _champion(client, candidate.name)
    if champion is None or champion.version == candidate.version:
        wins = not math.isnan(value)
    else:
        margin = value - float(champion.tags.get(VALUE, "nan"))
        wins = champion.tags.get(DATA) == sha256 and (margin > 0 if higher_is_better else margin < 0)
    alias = "champion" if wins else "challenger"
    client.set_registered_model_alias(candidate.name, alias, candidate.version)
    client.set_model_version_tag(candidate.name, candidate.version, ALIAS, alias)
    return alias


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    versions = client.get_registered_model(name).aliases
    return client.get_model_version(name, versions["champion"]) if "champion" in versions else None


@contextmanager
def _mlflow_at(uri: str) -> Iterator[None]:
    """MLflow's global address; it and the search path, which MLflow extends, are afterwards as they were.

    Deprecations inside MLflow and its libraries are not our users' to mend, and what it tells of its progress is no news.
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
