"""Registration of the chosen ensemble as a model in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.system.locks import alone

if TYPE_CHECKING:
    from src.ensembles.comparison import Comparison
    from src.tracking.record import RunRecord


def write_served(bundle: Path, comparison: Comparison, prepared: Path) -> None:
    """Write the chosen ensemble as it is served into the folder `bundle`; `prepared` is that of the prepared data."""
    from src.serving.bundle import write_bundle

    members, mixture = comparison.ensemble.served(comparison.pool)
    pairs = [(one.member.config, one.checkpoint.model_weights) for one in members]
    write_bundle(bundle, members[0].meta, pairs, prepared, mixture)


def register(
    uri: str,
    experiment: str,
    name: str,
    lock: Path,
    bundle: Path,
    prepared: Path,
    comparison: Comparison,
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Register the ensemble in `bundle`, and return its name, version, alias, run and address.

    Args:
        uri: of MLflow.
        experiment: its name.
        name: of the registered model.
        lock: held meanwhile, so that one registers at a time.
        bundle: its folder.
        prepared: the folder of the prepared data.
        comparison: what it was chosen by.
        metrics: its scores, as metrics.json has them.
    """
    from src.data.dataset import raw_example
    from src.metrics.listing import default_selection
    from src.serving.pyfunc import Ensemble
    from src.tracking import registry

    example, meta = raw_example(prepared), dict(comparison.pool[0].meta)
    with alone(lock, "the registration of a model"):
        return registry.register(
            uri,
            experiment,
            _record(comparison, metrics),
            bundle,
            example,
            Ensemble(bundle).predict(example),
            name,
            metrics["val"][default_selection(meta["task"])],
            higher_is_better=False,
            sha256=meta["sha256"],
        )


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
    figures = {name: value for name, value in figures.items() if not math.isnan(value)}
    return RunRecord(
        "ensemble",
        digest(meta["sha256"], json.dumps(metrics, sort_keys=True))[:16],
        f"ensemble {comparison.chosen}",
        None,
        "FINISHED",
        params,
        metrics=figures,
        tags={"lockstep.stage": "ensemble"},
        dataset=meta,
    )
