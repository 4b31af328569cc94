"""The runs that MLflow shows for the members of a model: one for each method, and below it one for each member."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from src.ensembles.final_member import FinalMember
    from src.ensembles.member_training import MemberTraining
    from src.system.trial_config import TrialConfig
    from src.tracking.record import RunRecord

SECTIONS = ("model", "optimizer", "schedule", "training")  # whose keys are a run's parameters


def records(
    training: MemberTraining, members: Sequence[FinalMember], out_of_fold: Mapping[str, float]
) -> list[RunRecord]:
    """Make MLflow's runs of one method: its own, and those of all members that were to be trained.

    Args:
        training: of the method, with what became of every member.
        members: its final members.
        out_of_fold: scores of their out-of-fold predictions, by metric.
    """
    from src.tracking.record import RunRecord

    fingerprint, meta, method = training.mirror.folder.name, training.context.rows.meta, training.method
    model = training.best.model["name"]
    tags = {"lockstep.stage": "train", "model": model, "lockstep.members": method}
    tags["lockstep.device"] = training.engine.setup.device
    figures = {f"held/{name}": value for name, value in out_of_fold.items()}
    title = f"train {model} {method}"
    shift = time.time() - time.monotonic()  # members that an earlier start trained have the times of their runs already
    times = {name: (o.began + shift, o.ended + shift) for name, o in training.outcomes.items() if o.seconds}
    runs = [
        RunRecord("train", fingerprint, title, None, "FINISHED", metrics=figures, tags=tags, dataset=meta.reference)
    ]
    if times:
        began, ended = min(start for start, _ in times.values()), max(end for _, end in times.values())
        runs[0] = replace(runs[0], started=began, ended=ended)
    configs = {member.name: member.member.config for member in members} | training.configs
    for name, config in configs.items():
        outcome = training.outcomes.get(name)
        start, end = times.get(name, (None, None))
        curves = outcome.curves if outcome else {}
        costs = {"seconds": outcome.seconds} if outcome and name in times else {}
        if curves:
            costs["epochs"] = float(max(map(len, curves.values())))
        runs.append(
            RunRecord(
                name,
                fingerprint,
                f"{model} {name}",
                "train",
                "FAILED" if outcome and outcome.error else "FINISHED",
                _parameters(config),
                curves,
                metrics=costs,
                tags=tags | {"lockstep.member": name},
                dataset=meta.reference,
                started=start,
                ended=end,
            )
        )
    return runs


def _parameters(config: TrialConfig) -> dict[str, Any]:
    """Select the keys of a config that a run shows, by the names that trials have."""
    written = config.to_json()
    params = {f"{section}.{key}": value for section in SECTIONS for key, value in written.get(section, {}).items()}
    return params | {"batch_size": config.batch_size, "epochs": config.epochs}
