"""The champion of a registered model: the version that is served, and how a new one may take its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

VALUE, DATA, TABLE, ROWS = "lockstep.val", "lockstep.sha256", "lockstep.table", "lockstep.rows"
ALIAS, REASON = "lockstep.alias", "lockstep.reason"

Predict = Callable[[Any], Any]  # raw rows → a table of predictions


def _none(champion: Predict, rows: int) -> tuple[float, float] | None:
    return None


@dataclass(frozen=True)
class Contender:
    """The figures by which a new version is compared with the champion.

    Args:
        value: its score on the validation rows.
        metric: what the score is, as people write it.
        higher_is_better: the direction of `value`.
        sha256: the digest of the data.
        table: the digest of what the data are whatever their rows: columns, classes, shape.
        rows: how many rows the data have.
        refusal: why it may not be champion whatever its score; empty where it may.
        on_newer_rows: scores the champion, by how it predicts raw rows, and the contender on the validation rows behind
            as many rows as the champion's data had; None where there are too few.
    """

    value: float
    metric: str
    higher_is_better: bool
    sha256: str
    table: str
    rows: int
    refusal: str = ""
    on_newer_rows: Callable[[Predict, int], tuple[float, float] | None] = _none

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its version, by which later ones are compared."""
        return {VALUE: repr(float(self.value)), DATA: self.sha256, TABLE: self.table, ROWS: str(self.rows)}


def line(client: MlflowClient, name: str, table: str) -> str:
    """Name the registered model of a table: `name`, or where that is another table's, `name` and the table's digest.

    Args:
        client: MLflow's.
        name: of the data set.
        table: the digest of what the data are.
    """
    tables = {version.tags.get(TABLE, table) for version in client.search_model_versions(f"name = '{name}'")}
    return name if not tables or table in tables else f"{name}-{table[:8]}"


def promote(client: MlflowClient, candidate: ModelVersion, contender: Contender) -> tuple[str, str]:
    """Give the version `candidate` its alias, once: what a person does to aliases later stands.

    It becomes `champion` where there is none, or where `contender` beats it: by the score on the same validation rows, or,
    where the data have grown, on the newer ones; else `challenger`. `client` is MLflow's. Returns the alias, and why.
    """
    if ALIAS in candidate.tags:
        return str(candidate.tags[ALIAS]), str(candidate.tags.get(REASON, "it was registered before"))
    wins, reason = _compared(client, candidate, contender)
    alias = "champion" if wins else "challenger"
    client.set_registered_model_alias(candidate.name, alias, candidate.version)
    for tag, text in ((ALIAS, alias), (REASON, reason)):
        client.set_model_version_tag(candidate.name, candidate.version, tag, text)
    return alias, reason


def _compared(client: MlflowClient, candidate: ModelVersion, contender: Contender) -> tuple[bool, str]:
    """Decide whether the contender wins, and say why."""
    if contender.refusal or math.isnan(contender.value):
        return False, contender.refusal or "it has no score"
    champion = _champion(client, candidate.name)
    if champion is None or champion.version == candidate.version:
        return True, "it is the first of these data"
    theirs, ours, where = float(champion.tags.get(VALUE, "nan")), contender.value, "on the same validation rows"
    if champion.tags.get(DATA) != contender.sha256:
        before = int(champion.tags.get(ROWS, contender.rows))
        scores = None
        if contender.rows > before:
            predict = mlflow.pyfunc.load_model(f"models:/{champion.name}/{champion.version}").predict
            scores = contender.on_newer_rows(predict, before)
        if scores is None:
            return False, (
                f"version {champion.version} was judged on other rows, and may have learned these; "
                "to crown this one, set the alias by hand"
            )
        (theirs, ours), where = scores, "on the newer validation rows"
    wins = ours > theirs if contender.higher_is_better else ours < theirs
    verb = "beats" if wins else "does not beat"
    return wins, f"its {contender.metric} {ours:.4g} {verb} {theirs:.4g} of version {champion.version} {where}"


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    versions = client.get_registered_model(name).aliases
    return client.get_model_version(name, versions["champion"]) if "champion" in versions else None
