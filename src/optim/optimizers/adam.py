"""Adam."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from src.optim.optimizer import Above0, Below1, From0, root


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015), as `torch.optim.Adam`: weight decay is L2, a part of the gradient."""

    lr: Above0
    beta1: Below1 = 0.9
    beta2: Below1 = 0.999
    eps: Above0 = 1e-8
    weight_decay: From0 = 0.0
    state: ClassVar[tuple[str, ...]] = ("mean", "square")

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """Compute the columns of `update` for the steps `step_SK1` from the hyperparameters `h`."""
        return {"weight_decay": h["weight_decay"], **of_moments(h, step_SK1)}

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Add the decay to `g_KP`, and step `p_KP` by the moments in `state` and this step's columns `c`."""
        step_by_moments(p_KP, g_KP.addcmul_(p_KP, c["weight_decay"]), state, c)


def of_moments(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
    """Compute the columns of `step_by_moments`, with the corrections for moments that began at 0."""
    correction1, correction2 = 1 - h["beta1"] ** step_SK1, 1 - h["beta2"] ** step_SK1
    return {
        "fresh1": 1 - h["beta1"],
        "fresh2": 1 - h["beta2"],
        "eps": h["eps"] * correction2.sqrt(),
        "rate": -h["lr"] * correction2.sqrt() / correction1,
    }


def step_by_moments(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
    """Step `p_KP` along the mean of the gradients over the root of their mean square, both kept in `state`.

    `c` has this step's columns, of `of_moments`. `g_KP`, the gradients, is spoilt.
    """
    mean = state["mean"].lerp_(g_KP, c["fresh1"])
    square = state["square"].lerp_(g_KP.square_(), c["fresh2"])
    denominator = root(square, out=g_KP).add_(c["eps"])
    p_KP.addcmul_(torch.div(mean, denominator, out=g_KP), c["rate"])
