"""The chosen ensemble becomes a registered model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.system.locks import alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ensembles.pool import Trained
    from src.ensembles.selection import Joined


def register(
    uri: str,
    name: str,
    lock: Path,
    models: Sequence[str],
    folder: Path,
    meta: dict[str, Any],
    pool: list[Trained],
    chosen: Joined,
    metrics: dict[str, Any],
    out: Path,
) -> None:
    """Write the bundle of `chosen` under `out` and register it as `name` at MLflow's `uri`, alone by `lock`."""
    import json

    from src.data.dataset import raw_example
    from src.ensembles.metrics import selection
    from src.serving.bundle import write_bundle
    from src.serving.pyfunc import Ensemble
    from src.system.files import write_json
    from src.system.fingerprint import digest
    from src.tracking import registry
    from src.tracking.record import RunRecord
    from src.tracking.uri import check

    check(uri)
    bundle, members = out / "model", [pool[k] for k in chosen.used]
    entries = [{"config": member.config, **member.nets} for member in members]
    write_bundle(bundle, meta, entries, folder, chosen.pruned())
    figures = {f"{part}/{name}": value for part in ("val", "test") for name, value in metrics[part].items()}
    record = RunRecord(
        "ensemble",
        digest(meta["sha256"], json.dumps(metrics, sort_keys=True))[:16],
        f"ensemble {metrics['chosen']}",
        None,
        "FINISHED",
        {
            "combiner": metrics["chosen"].partition("+")[2],
            "models": ", ".join(models),
            "members": len(members),
        },
        metrics=figures,
        tags={"lockstep.stage": "ensemble"},
        dataset=meta,
    )
    example = raw_example(folder)
    with alone(lock, "the registration of a model"):
        registered = registry.register(
            uri,
            name,
            record,
            bundle,
            example,
            Ensemble(bundle).predict(example),
            name,
            metrics["val"][selection(meta["task"])],
            higher_is_better=False,
            sha256=meta["sha256"],
        )
    write_json(out / "registered.json", registered)
