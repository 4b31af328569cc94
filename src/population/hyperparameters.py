"""Strengths that every member has of its own, as columns: they differ freely within a population."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from src.population.member import Member


def strength(config: Mapping[str, Any], key: str) -> float:
    """What a config says of a dotted key; 0, which is off, where it does not have it."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    return float(node or 0.0)


def column(members: Sequence[Member], key: str, device: torch.device) -> Tensor | None:
    """The members' strengths [K, 1]; None where it is off for all of them."""
    found = [strength(member.config, key) for member in members]
    return torch.tensor(found, device=device)[:, None] if any(found) else None
