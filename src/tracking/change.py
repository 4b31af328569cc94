"""The difference between a record and what MLflow shows of its run."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Dataset, Run

from src.tracking.record import RunRecord

Point = tuple[str, int, float]  # metric, step, value


@dataclass
class Shown:
    """The state of a run in MLflow, as far as it has been read."""

    run_id: str
    artifact_uri: str
    status: str = ""  # none: the run is not there yet
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)  # their digests
    points: dict[str, set[int]] = field(default_factory=dict)  # metric → steps
    unread: set[str] = field(default_factory=set)  # metrics whose steps have not been read

    @classmethod
    def of(cls, run: Run) -> "Shown":
        """Take over a run that a search returned; the steps of its metrics are still unread."""
        datasets = {each.dataset.digest for each in run.inputs.dataset_inputs} if run.inputs else set()
        info, data = run.info, run.data
        return cls(
            info.run_id, info.artifact_uri, info.status, data.tags, set(data.params), datasets, {}, set(data.metrics)
        )


@dataclass(frozen=True)
class Change:
    """The tags, parameters, points and data set that are still to be written."""

    tags: dict[str, str]
    params: dict[str, str]
    points: list[Point]
    dataset: Dataset | None

    def apply(self, shown: Shown) -> None:
        """Note that the change has been written."""
        shown.tags |= self.tags
        shown.params |= self.params.keys()
        shown.datasets |= {self.dataset.digest} if self.dataset else set()
        for name, step, _ in self.points:
            shown.points.setdefault(name, set()).add(step)


def difference(record: RunRecord, shown: Shown, tags: Mapping[str, str]) -> Change:
    """Compare `record`, with `tags` in the place of its own, with what is `shown`: the rest is to be written."""
    last = max(map(len, record.curves.values()), default=0)
    points = [(name, step, value) for name, curve in record.curves.items() for step, value in enumerate(curve, 1)]
    points += [(name, last, value) for name, value in record.metrics.items()]
    dataset = _dataset(record)
    return Change(
        tags={key: value for key, value in tags.items() if shown.tags.get(key) != value},
        params={key: str(value) for key, value in record.params.items() if key not in shown.params},
        points=[(name, step, _finite(value)) for name, step, value in points if step not in shown.points.get(name, ())],
        dataset=None if dataset and dataset.digest in shown.datasets else dataset,
    )


def content_digest(record: RunRecord, bundle: str) -> str:
    """Compute the SHA-256 of a record; `bundle` is the digest of its model."""
    content = vars(record) | {"model": bundle}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """Compute the SHA-256 over the names and contents of a folder's files."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(folder)} {_file_digest(path)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dataset(record: RunRecord) -> Dataset | None:
    if not record.dataset:
        return None
    source = str(record.dataset["source"])
    kind, word = ("http", "url") if source.startswith("http") else ("local", "uri")
    digest = str(record.dataset["sha256"])[:36]  # as much as MLflow keeps
    profile = json.dumps({"num_rows": record.dataset["n_train"]})
    return Dataset(str(record.dataset["name"]), digest, kind, json.dumps({word: source}), None, profile)


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan
