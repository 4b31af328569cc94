"""RMSprop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from src.optim.optimizer import Above0, Below1, From0, root


@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Hinton 2012) with momentum, as `torch.optim.RMSprop`, not centred: weight decay is L2."""

    lr: Above0
    alpha: Below1 = 0.99
    momentum: Below1 = 0.0
    eps: Above0 = 1e-8
    weight_decay: From0 = 0.0
    state: ClassVar[tuple[str, ...]] = ("square", "velocity")

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """Compute the columns of `update` from the hyperparameters `h`."""
        names = ("weight_decay", "momentum", "eps")
        return {**{name: h[name] for name in names}, "fresh": 1 - h["alpha"], "rate": -h["lr"]}

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Step `p_KP` along the velocity of `g_KP` over the root of its mean square in `state`, by the columns `c`."""
        g_KP.addcmul_(p_KP, c["weight_decay"])
        square = state["square"].lerp_(scratch_KP := g_KP.square(), c["fresh"])
        denominator = root(square, out=scratch_KP).add_(c["eps"])
        velocity = state["velocity"].mul_(c["momentum"]).add_(torch.div(g_KP, denominator, out=g_KP))
        p_KP.addcmul_(velocity, c["rate"])
