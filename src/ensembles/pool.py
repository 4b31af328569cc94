"""The final members of all models in one pool, read from what `train` left: what each predicts, and which go together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from src.system.errors import UserError

ROWS = 2048  # predicted at a time


@dataclass(frozen=True)
class Trained:
    """A final member: a net, or a sum of nets."""

    model: str
    how: str
    name: str
    config: Mapping[str, Any]
    parts: tuple[tuple[Path, float], ...]  # the files of the nets whose outputs, times the coefficient, are summed
    val: NDArray[np.float32]  # probabilities [N, C] or values [N] of the validation rows
    weight: float = 1.0  # its own say among its like, as boosting gives it
    refit: bool = False  # whether its nets have learned from the validation rows too; `val` is from before that
    held: NDArray[np.float32] | None = None  # of all training rows, NaN for those that it was trained on

    @property
    def title(self) -> str:
        return f"{self.model} {self.name}" if self.how in self.name else f"{self.model} {self.how} {self.name}"

    @property
    def nets(self) -> dict[str, Any]:
        """Its nets as a bundle takes them."""
        if self.parts == ((self.parts[0][0], 1.0),):
            return {"weights": self.parts[0][0]}
        return {"parts": [{"weights": file, "coefficient": coefficient} for file, coefficient in self.parts]}


def read_pool(outputs: Path, models: Sequence[str], meta: Mapping[str, Any]) -> list[Trained]:
    """The members of `models` that predict finite numbers.

    Raises:
        UserError: one is missing, they were trained on other data or classes, or none predicts numbers.
    """
    found = [member for model in models for member in read_members(outputs / "train" / model, model, meta)]
    pool = [member for member in found if np.isfinite(member.val).all()]
    if not pool:
        raise UserError(
            f"models: no member of {', '.join(models)} predicts finite numbers, so there is nothing to join; "
            "train them again with a lower optimizer.lr"
        )
    for member in found:
        if not np.isfinite(member.val).all():
            print(f"{member.title} is left out: it does not predict finite numbers")
    if len(pool) == 1:
        print(
            f"models: {pool[0].title} is the only member, so it is the ensemble; members.n=5 or a second model adds more"
        )
    return pool


def read_members(folder: Path, model: str, meta: Mapping[str, Any]) -> list[Trained]:
    """The members that `train` left in `folder`.

    Raises:
        UserError: one is missing, or they were trained on other data or classes.
    """
    if not (folder / "members.json").exists():
        raise UserError(f"models: {folder}/members.json is missing; run python -m src.train model={model} first")
    found = json.loads((folder / "members.json").read_text())
    if found["class_names"] != meta["class_names"]:
        raise UserError(f"models: {model} was trained for other classes than {meta['name']} has; train it again")
    if found["sha256"] != meta["sha256"]:
        raise UserError(f"models: {model} was trained on data of another digest than {meta['name']}; train it again")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return [_member(folder, model, found, config, item) for item in found["items"]]


def _member(
    folder: Path, model: str, found: Mapping[str, Any], config: Mapping[str, Any], item: Mapping[str, Any]
) -> Trained:
    parts = [(part["weights"], part["coefficient"]) for part in item.get("parts", [])] or [(item["weights"], 1.0)]
    held = item.get("held")
    for file in (*(file for file, _ in parts), item["predictions"], *filter(None, [held])):
        if not (folder / file).exists():
            raise UserError(f"models: {folder / file} of {model} is missing; train it again")
    return Trained(
        model,
        item.get("members", found["members"]),
        item["name"],
        item.get("config", config),
        tuple((folder / file, coefficient) for file, coefficient in parts),
        np.load(folder / item["predictions"]),
        item.get("weight", 1.0),
        item.get("refit", False),
        np.load(folder / held) if held else None,
    )


def candidates(pool: Sequence[Trained]) -> dict[str, list[int]]:
    """Which members are tried together, `<model>:<members>`: those of each, and all of each model, of each way, of all."""
    models, ways = (list(dict.fromkeys(names)) for names in zip(*((m.model, m.how) for m in pool), strict=True))
    found: dict[str, list[int]] = {}
    for model in [*models, "all"]:
        for how in [*ways, "all"]:
            places = [k for k, m in enumerate(pool) if model in (m.model, "all") and how in (m.how, "all")]
            if places not in found.values() and (len(places) > 1 or len(pool) == 1):
                found[f"{model}:{how}"] = places
    return found


def says(members: Sequence[Trained]) -> NDArray[np.float64]:
    """Each member's own say [M], sum 1: what it has among its like, whose mean is that of everyone else's."""
    alike = [[m.weight for m in members if (m.model, m.how) == (member.model, member.how)] for member in members]
    weights = np.array([member.weight / np.mean(like) for member, like in zip(members, alike, strict=True)])
    return np.asarray(weights / weights.sum())


def predict(member: Trained, meta: Mapping[str, Any], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities [N, C] or values [N] of one member."""
    return _predict(_nets(member, meta), meta, x)


def latency(member: Trained, meta: Mapping[str, Any], x: NDArray[np.float32]) -> float:
    """Measure the milliseconds that the member's nets take together for the first row of `x`, as trials are measured."""
    import torch

    from src.engine.latency import latency_ms

    return sum(latency_ms(net, torch.from_numpy(x[:1])) for net, _ in _nets(member, meta))


def parameters(member: Trained, meta: Mapping[str, Any]) -> int:
    """Count the parameters of the member's nets, as those of trials are counted."""
    from src.models.building import build, n_parameters

    return n_parameters(build(member.config["model"], meta)) * len(member.parts)


def _nets(member: Trained, meta: Mapping[str, Any]) -> list[tuple[Any, float]]:
    """Its nets, ready to predict, and their coefficients."""
    from safetensors.torch import load_file

    from src.models.building import build
    from src.population.member import one_thread

    one_thread()
    nets = []
    for file, coefficient in member.parts:
        net = build(member.config["model"], meta)
        net.load_state_dict(load_file(file))
        nets.append((net.eval(), coefficient))
    return nets


def _predict(nets: Sequence[tuple[Any, float]], meta: Mapping[str, Any], x: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        parts = torch.split(torch.from_numpy(x), ROWS)
        output = torch.stack([coefficient * torch.cat([net(part) for part in parts]) for net, coefficient in nets]).sum(
            0
        )
    if meta["task"] == "classification":
        return np.asarray(output.softmax(1).numpy())
    return np.asarray((output[:, 0] * meta["target_std"] + meta["target_mean"]).numpy())
