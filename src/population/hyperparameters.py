"""Hyperparameters that differ freely between the members of a population, as columns."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from src.population.member import Member
from src.system.trial_config import Training


def column(members: Sequence[Member], strength: Callable[[Training], float], device: torch.device) -> Tensor | None:
    """Return the members' values of one strength as a column.

    Args:
        members: K members.
        strength: reads it from the section `training` of a config.
        device: of the column.

    Returns:
        The strengths [K, 1]; None where all are 0, which is off.
    """
    strengths = [float(strength(member.config.training)) for member in members]
    return torch.tensor(strengths, device=device)[:, None] if any(strengths) else None
