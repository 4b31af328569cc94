"""A run as MLflow shall show it."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from src.system.errors import UserError

_NAME = re.compile(r"[/\w.\- :]{1,250}")


@dataclass(frozen=True)
class RunRecord:
    """Everything that MLflow shall show of one run. Projecting it twice changes nothing.

    Point i of a curve is epoch i + 1. NaN and infinities are stored as NaN: MLflow would make ±1.8e308 of an infinity,
    which no chart survives. A parameter and a point keep their first value; tags, model and times follow the record.

    Raises:
        UserError: a name that MLflow refuses, or a parameter that it would cut in silence.
    """

    key: str  # unique inside the fingerprint: "sweep", "trial-12", "member-3"
    fingerprint: str  # of the study; one Tracker at a time writes its runs, another waits
    name: str
    parent: str | None  # key of the parent run
    state: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
    params: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # final figures, at the step of the last epoch
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)  # name, sha256, source, n_train
    model: Path | None = None  # a bundle of `serving.write_bundle`, shown as the artifact "model"
    started: float | None = (
        None  # Unix seconds: when its training began and ended; by default the time of the projection
    )
    ended: float | None = None

    def __post_init__(self) -> None:
        for kind, names in (("Parameter", self.params), ("Metric", self.curves), ("Metric", self.metrics)):
            for name in names:
                if not _NAME.fullmatch(name) or posixpath.normpath(name) != name or name.startswith(("/", "..")):
                    allowed = "up to 250 letters, digits, spaces and _ - . : /"
                    raise UserError(f"{kind} {name!r} of {self.name}: MLflow takes names of {allowed}.")
        for name, value in self.params.items():
            if (length := len(str(value))) > 6000:
                raise UserError(f"Parameter {name!r} of {self.name}: {length} characters, MLflow keeps at most 6000.")
        if twice := self.curves.keys() & self.metrics.keys():
            raise ValueError(f"{sorted(twice)} of {self.name}: a figure is either a curve or final")


def for_writer(record: RunRecord) -> RunRecord:
    """Prepare a record for the writer, which works in another folder: with absolute paths."""
    return replace(record, model=record.model and record.model.absolute())
