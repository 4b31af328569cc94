"""Hyperparameters that differ freely between the members of a population, as columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from src.population.member import Member


def strength(config: Mapping[str, Any], key: str) -> float:
    """Return a config's number at a dotted key; 0, which is off, where it has none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    return float(node or 0.0)


def column(members: Sequence[Member], key: str, device: torch.device) -> Tensor | None:
    """Return the members' numbers at the dotted `key` on `device` [K, 1]; None where all are 0, which is off."""
    strengths = [strength(member.config, key) for member in members]
    return torch.tensor(strengths, device=device)[:, None] if any(strengths) else None
