"""NEEDS A DOCSTRING."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from src.models.building import build
from src.population.checkpoint import Checkpoint
from src.population.exact_layers import exact
from src.population.member import Member, derived_seed

EVALUATION_ROWS = 2048  # at once, to bound memory
HELD_ROWS = 512  # the same where every member has its own


def build_model(member: Member, meta: Mapping[str, Any], state: Checkpoint | None) -> nn.Module:
    """The member's model with its own initial weights, or those of `state`."""
    model = member.config["model"]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(member.seed, 0))
        module = exact(build(model, meta), tight="_target_" in model)
    if state is not None:
        module.load_state_dict(state.weights)
    return module


def stacked_modules(outputs: list[Tensor]) -> Tensor:
    return outputs[0][None] if len(outputs) == 1 else torch.stack(outputs)
