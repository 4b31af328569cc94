"""The pool of final members of all models, read from what `train` left, and the groups of them that are tried together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.final_member import FinalMember
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.read_back import intact, read_json


def read_pool(outputs: Path, models: Sequence[str], meta: DataMeta) -> list[FinalMember]:
    """Read the members of `models` below `outputs` that predict finite numbers, for the data of `meta`.

    Raises:
        UserError: one is missing, they were trained on other data or classes, or none predicts finite numbers.
    """
    members = [member for model in models for member in read_members(outputs / "train" / model, model, meta)]
    pool = [_with_sound_refit(member) for member in members if member.is_finite()]
    if not pool:
        raise UserError(
            f"models: no member of {', '.join(models)} predicts finite numbers, so there is nothing to join; "
            "train them again with a lower optimizer.lr"
        )
    for member in members:
        if not member.is_finite():
            print(f"{member.title} is left out: it does not predict finite numbers")
    if len(pool) == 1:
        print(
            f"models: {pool[0].title} is the only member, so it is the ensemble; members.n=5 or a second model adds more"
        )
    return pool


def read_members(folder: Path, model: str, meta: DataMeta) -> list[FinalMember]:
    """Read the members of `model` that `train` left in `folder`, for the data of `meta`.

    Raises:
        UserError: one is missing, or they were trained on other data or classes.
    """
    if not (folder / "members.json").exists():
        raise UserError(f"models: {folder}/members.json is missing; run python -m src.train model={model} first")
    again = f"run python -m src.train model={model} again"
    with intact(folder / "members.json", again):
        return _read_members(folder, model, meta, read_json(folder / "members.json", again))


def _read_members(folder: Path, model: str, meta: DataMeta, content: Mapping[str, Any]) -> list[FinalMember]:
    if content["class_names"] != meta.class_names:
        raise UserError(f"models: {model} was trained for other classes than {meta.name} has; train it again")
    if content["sha256"] != meta.sha256:
        raise UserError(f"models: {model} was trained on data of another digest than {meta.name}; train it again")
    return [FinalMember.from_json(folder, model, line, meta) for line in content["items"]]


def read_notes(outputs: Path, models: Sequence[str]) -> list[str]:
    """Read the notes of `train` below `outputs` on members of `models` that were trained again or left out."""
    files = [outputs / "train" / model / "members.json" for model in models]
    lines = {model: read_json(file, "run python -m src.train again") for model, file in zip(models, files, strict=True)}
    return [f"{model}: {note}" for model, content in lines.items() for note in content.get("notes", [])]


def _with_sound_refit(member: FinalMember) -> FinalMember:
    if member.refit is None or member.refit.is_finite():
        return member
    print(f"{member.title} is served as it was judged: its refit does not predict finite numbers")
    return replace(member, refit=None)


def groups(pool: Sequence[FinalMember]) -> dict[str, list[int]]:
    """List the groups of members that are tried together, as positions in the pool, by `<model>:<method>`.

    They are those of each model and method, all of each model, all of each method, and all.
    """
    models, methods = (list(dict.fromkeys(names)) for names in zip(*((m.model, m.method) for m in pool), strict=True))
    grouped: dict[str, list[int]] = {}
    for model in [*models, "all"]:
        for method in [*methods, "all"]:
            positions = [k for k, m in enumerate(pool) if model in (m.model, "all") and method in (m.method, "all")]
            if positions not in grouped.values() and (len(positions) > 1 or len(pool) == 1):
                grouped[f"{model}:{method}"] = positions
    return grouped


def latency(member: FinalMember, x: NDArray[np.float32]) -> float:
    """Measure the milliseconds that `member` takes for the first row of `x`, as trials are measured."""
    import torch

    from src.engine.latency import latency_ms
    from src.population.member import one_thread

    one_thread()
    return latency_ms(member.net(), torch.from_numpy(np.array(x[:1])))
