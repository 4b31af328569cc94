"""The training rows of a member for a model that predicts from them: its own alone, each once, as heavy as it counts."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from src.models.training_rows import parts_with_rows, row_tensors
from src.population.member import Member
from src.population.rows import Rows


def hold_rows(model: nn.Module, member: Member, data: Rows) -> None:
    """Let every part of `model` that predicts from training rows hold those of its `member`, out of `data`."""
    for part in parts_with_rows(model).values():
        part.hold(data.x_train, data.y_train, weights(member, len(data.x_train)))


def weights(member: Member, count: int) -> Tensor:
    """Return how much each of so many training rows counts for a member [N]: 0 for those that it does not train on."""
    weight_N = torch.ones(count)
    if member.rows is not None:
        weight_N = torch.bincount(torch.from_numpy(member.rows), minlength=count).float()
    return weight_N if member.weights is None else weight_N * torch.from_numpy(member.weights)


def with_rows(state: Mapping[str, Tensor], model: nn.Module, member: Member, data: Rows) -> dict[str, Tensor]:
    """Return a `state_dict` with the training rows of the `member`, where its `model` predicts from them.

    Args:
        state: tensors by their `state_dict` names; those of the rows may be missing.
        model: any of the member's config.
        member: the one that was trained.
        data: the rows that it was trained on, or out of which its own are.
    """
    hold_rows(model, member, data)
    saved = {name: tensor for name, tensor in row_tensors(model).items() if name in model.state_dict()}
    return {**state, **saved}
