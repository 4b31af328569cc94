"""Registration of the chosen ensemble as a model in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.system.data_meta import DataMeta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from src.ensembles.comparison import Comparison
    from src.serving.acceptance import Accepted
    from src.serving.pyfunc import Ensemble
    from src.tracking.champion import Contender
    from src.tracking.record import RunRecord

LEAST_NEWER_ROWS = 30  # by which a champion may fall


def register(
    uri: str,
    experiment: str,
    name: str,
    lock: Path,
    bundle: Path,
    prepared: Path,
    data: Mapping[str, Any],
    accepted: Accepted,
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Register the ensemble in `bundle`, and return its name, version, alias and why it has that, run and address.

    Args:
        uri: of MLflow.
        experiment: its name.
        name: of the registered model.
        lock: held meanwhile, so that one registers at a time.
        bundle: its folder.
        prepared: the folder of the prepared data.
        data: the section of the config by which they were prepared, to read newer rows by.
        accepted: the ensemble, and whether it may be champion.
        metrics: its scores, as metrics.json has them.
    """
    from src.data.dataset import raw_example
    from src.serving.pyfunc import Ensemble
    from src.system.locks import exclusive
    from src.tracking import registry

    example, ensemble = raw_example(prepared), Ensemble(bundle)
    with exclusive(lock, "the registration of a model"):
        return registry.register(
            uri,
            experiment,
            _record(accepted.comparison, metrics),
            bundle,
            example,
            ensemble.predict(example),
            name,
            _contender(ensemble, data, accepted, metrics),
        )


def _contender(ensemble: Ensemble, data: Mapping[str, Any], accepted: Accepted, metrics: dict[str, Any]) -> Contender:
    """Value by which the ensemble is compared with the champion."""
    import json

    from src.metrics.listing import default_selection
    from src.system.fingerprint import digest
    from src.tracking.champion import Contender

    meta = accepted.comparison.pool[0].meta
    by = default_selection(meta.task)
    columns = [(column["name"], column["dtype"]) for column in meta.columns]
    kind = [meta.task, meta.input_shape, meta.class_names, columns]

    def on_newer_rows(champion: Callable[[Any], Any], n_before: int) -> tuple[float, float] | None:
        return scores_on_newer_rows(data, meta, n_before, champion, ensemble.predict)

    return Contender(
        value=metrics["val"][by],
        metric=by.upper(),
        higher_is_better=False,
        sha256=meta.sha256,
        table=digest(json.dumps(kind, sort_keys=True)),
        rows=meta.n_rows,
        refusal=accepted.refusal,
        on_newer_rows=on_newer_rows,
    )


def scores_on_newer_rows(
    data: Mapping[str, Any],
    meta: DataMeta,
    n_before: int,
    champion: Callable[[Any], Any],
    contender: Callable[[Any], Any],
) -> tuple[float, float] | None:
    """Score two models on the validation rows that stand behind the first `n_before` rows of the data set.

    Args:
        data: the section of the config, by which the rows are read.
        meta: what the data are.
        n_before: rows that the champion may have learned from.
        champion: predicts raw rows, as a registered model does.
        contender: the same of the new version.

    Returns:
        The scores of both, or None where there are fewer than 30 such rows.
    """
    import numpy as np

    from src.data.columns import conform
    from src.data.reader import parse
    from src.data.splitting import split
    from src.metrics.listing import default_selection
    from src.metrics.scoring import score

    reader = parse(data)
    raw = reader.read()
    rows = split(raw, reader)["val"]
    rows = rows[rows >= n_before]
    if len(rows) < LEAST_NEWER_ROWS:
        return None
    newer = raw.x.take(rows, axis=0)
    if plain := [column for column in meta.columns if "reading" not in column]:  # a file's cells are text
        newer = newer.assign(**conform(newer, plain)).reset_index(drop=True)
    by, scores = default_selection(meta.task), []
    for predict in (champion, contender):
        table = predict(newer)
        columns = [f"p_{name}" for name in meta.class_names] or "prediction"
        scores.append(score(meta.task, np.asarray(table[columns]), raw.y[rows])[by])
    return scores[0], scores[1]


def _record(comparison: Comparison, metrics: dict[str, Any]) -> RunRecord:
    """The run of the ensemble, under a fingerprint of its scores."""
    import json
    import math

    from src.system.fingerprint import digest
    from src.tracking.record import RunRecord

    members, meta = [comparison.pool[k] for k in comparison.ensemble.used], comparison.pool[0].meta
    params = {
        "combiner": comparison.chosen.partition("+")[2],
        "models": ", ".join(dict.fromkeys(member.model for member in comparison.pool)),
        "members": len(members),
    }
    figures = {f"{part}/{name}": value for part in ("val", "test") for name, value in metrics[part].items()}
    for name, baseline in metrics.get("baselines", {}).items():
        figures |= {f"baseline/{name}/{metric}": value for metric, value in baseline["test"].items()}
    figures = {name: value for name, value in figures.items() if not math.isnan(value)}
    return RunRecord(
        "ensemble",
        digest(meta.sha256, json.dumps(metrics, sort_keys=True))[:16],
        f"ensemble {comparison.chosen}",
        None,
        "FINISHED",
        params,
        metrics=figures,
        tags={"lockstep.stage": "ensemble"},
        dataset=meta.reference,
    )
