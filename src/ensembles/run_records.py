"""NEEDS A DOCSTRING."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.ensembles.final_member import FinalMember
    from src.ensembles.member_training import MemberTraining
    from src.tracking.record import RunRecord


def records(model: str, training: MemberTraining, items: list[FinalMember], held: dict[str, float]) -> list[RunRecord]:
    """The runs of one way, under one of its own."""
    from src.tracking.record import RunRecord

    fingerprint, meta, how = training.folder.name, training.context.rows.meta, training.how
    tags = {"lockstep.stage": "train", "model": model, "lockstep.members": how}
    figures = {f"held/{name}": value for name, value in held.items()}
    title = f"train {model} {how}"
    records = [RunRecord("train", fingerprint, title, None, "FINISHED", metrics=figures, tags=tags, dataset=meta)]
    ready = {item.trained.key: item.trained.member.config for item in items}
    for key, config in (ready | training.configs).items():
        outcome = training.outcomes.get(key)
        sections = ("model", "optimizer", "schedule", "training", "regularization", "augment")
        params = {f"{section}.{k}": v for section in sections for k, v in config.get(section, {}).items()}
        params |= {key: config[key] for key in ("batch_size", "epochs")}
        records.append(
            RunRecord(
                key,
                fingerprint,
                f"{model} {key}",
                "train",
                "FAILED" if outcome and outcome.error else "FINISHED",
                params,
                outcome.curves if outcome else {},
                tags=tags | {"lockstep.member": key},
                dataset=meta,
            )
        )
    return records
