"""The short way into MLflow's own database: a run as rows of one transaction, never half there.

Through MLflow's client the same rows take ten times the processor time: each of its calls is several transactions. The
tables are MLflow's, so the short way is taken only with the schema that it was tested with; the tests compare it with
the client.
"""

import time
import uuid
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels import models
from sqlalchemy import Table, select, text
from sqlalchemy.orm import Session

from src.tracking.change import Change, Shown
from src.tracking.record import RunRecord

TESTED_SCHEMA = "dc11669786a5"  # MLflow 3.17's

_RUNS, _TAGS, _PARAMS = models.SqlRun.__table__, models.SqlTag.__table__, models.SqlParam.__table__
_METRICS, _LATEST = models.SqlMetric.__table__, models.SqlLatestMetric.__table__
_DATASETS, _INPUTS, _INPUT_TAGS = models.SqlDataset.__table__, models.SqlInput.__table__, models.SqlInputTag.__table__


def is_known(store: Any) -> bool:
    """Tell whether `store` is a SQLite database of the tested schema."""
    if not hasattr(store, "engine") or store.engine.dialect.name != "sqlite":
        return False
    with store.engine.connect() as connection:
        return bool(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == TESTED_SCHEMA)


def make(file: Path, artifacts: Path) -> None:
    """Make a fresh SQLite database at `file`, which appears whole.

    MLflow takes seconds to make one; two processes at once, or one that is killed, leave a file that is broken for ever.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    store: Any = SqlAlchemyStore  # untyped
    store(f"sqlite:///{fresh}", str(artifacts)).engine.dispose()
    fresh.rename(file)


def write(store: Any, experiment: int, user: str, record: RunRecord, shown: Shown, change: Change) -> None:
    """Insert or extend the run `shown.run_id`, its state included.

    Args:
        store: MLflow's store of the database.
        experiment: the number of the experiment.
        user: the user that a new run shows.
        record: the run as it shall be; of it name, state and times are read.
        shown: the run as it is.
        change: the difference between both.
    """
    with store.ManagedSessionMaker(read_only=False) as session:
        end = None if record.state == "RUNNING" else _ms(record.ended)
        if shown.status:
            active = (_RUNS.c.run_uuid == shown.run_id) & (_RUNS.c.lifecycle_stage == "active")
            same = record.ended is None and shown.status == record.state  # then it keeps the end that it has
            times = ({} if same else {"end_time": end}) | (
                {"start_time": _ms(record.started)} if record.started else {}
            )
            if not session.execute(_RUNS.update().where(active).values(status=record.state, **times)).rowcount:
                raise MlflowException(f"run {shown.run_id} was deleted")
        else:
            session.execute(_RUNS.insert(), _run_row(experiment, user, record, shown, end))
        _replace(session, _TAGS, shown, [{"key": key, "value": value} for key, value in change.tags.items()])
        _insert(session, _PARAMS, shown, [{"key": key, "value": value} for key, value in change.params.items()])
        _add_points(session, shown, change)
        if change.dataset:
            _add_dataset(session, experiment, shown.run_id, change.dataset)


def _run_row(experiment: int, user: str, record: RunRecord, shown: Shown, end: int | None) -> dict[str, Any]:
    return {
        "run_uuid": shown.run_id,
        "name": record.name,
        "experiment_id": experiment,
        "artifact_uri": shown.artifact_uri,
        "status": record.state,
        "start_time": _ms(record.started),
        "end_time": end,
        "user_id": user,
        "lifecycle_stage": "active",
        "source_type": "UNKNOWN",  # this and the empty ones as MLflow's store writes them
        "source_name": "",
        "source_version": "",
        "entry_point_name": "",
    }


def _add_points(session: Session, shown: Shown, change: Change) -> None:
    now = _ms(None)
    rows: list[dict[str, Any]] = [
        {
            "key": name,
            "step": step,
            "timestamp": now,
            "is_nan": value != value,
            "value": 0.0 if value != value else value,
        }
        for name, step, value in sorted(change.points, key=lambda point: point[1])
    ]
    _insert(session, _METRICS, shown, rows)
    last = {row["key"]: row for row in rows}.values()
    newer = [row for row in last if row["step"] > max(shown.points.get(row["key"], ()), default=-1)]
    _replace(session, _LATEST, shown, newer)


def _replace(session: Session, table: Table, shown: Shown, rows: list[dict[str, Any]]) -> None:
    if shown.status and rows:
        keys = table.c.key.in_([row["key"] for row in rows])
        session.execute(table.delete().where((table.c.run_uuid == shown.run_id) & keys))
    _insert(session, table, shown, rows)


def _insert(session: Session, table: Table, shown: Shown, rows: list[dict[str, Any]]) -> None:
    if rows:
        session.execute(table.insert(), [row | {"run_uuid": shown.run_id} for row in rows])


def _add_dataset(session: Session, experiment: int, run_id: str, dataset: Dataset) -> None:
    identity = {"experiment_id": experiment, "name": dataset.name, "digest": dataset.digest}
    number = session.execute(select(_DATASETS.c.dataset_uuid).filter_by(**identity)).scalar()
    if not number:
        number = uuid.uuid4().hex
        origin = {"dataset_source_type": dataset.source_type, "dataset_source": dataset.source}
        session.execute(
            _DATASETS.insert(), identity | origin | {"dataset_uuid": number, "dataset_profile": dataset.profile}
        )
    link = uuid.uuid4().hex
    ends = {"source_type": "DATASET", "source_id": number, "destination_type": "RUN", "destination_id": run_id}
    session.execute(_INPUTS.insert(), ends | {"input_uuid": link})
    session.execute(_INPUT_TAGS.insert(), {"input_uuid": link, "name": "mlflow.data.context", "value": "training"})


def _ms(seconds: float | None) -> int:
    return int(1000 * (time.time() if seconds is None else seconds))
