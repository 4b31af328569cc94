"""Stochastic gradient descent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from src.optim.optimizer import Above0, Below1, From0


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, as `torch.optim.SGD`; Nesterov's form by a flag of each member."""

    lr: Above0
    momentum: Below1 = 0.9
    nesterov: bool = True
    weight_decay: From0 = 0.0
    state: ClassVar[tuple[str, ...]] = ("velocity",)

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """Compute the columns of `update` from the hyperparameters `h`; Nesterov's form is in the rates."""
        # p -= rate_v · v + rate_g · g, where Nesterov looks ahead: g + momentum · v in the place of v
        return {
            "weight_decay": h["weight_decay"],
            "momentum": h["momentum"],
            "rate_v": -h["lr"] * torch.where(h["nesterov"] > 0, h["momentum"], 1.0),
            "rate_g": -h["lr"] * h["nesterov"],
        }

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Step `p_KP` along the velocity in `state` and, in Nesterov's form, along `g_KP`, by this step's columns `c`."""
        g_KP.addcmul_(p_KP, c["weight_decay"])
        velocity = state["velocity"].mul_(c["momentum"]).add_(g_KP)
        p_KP.addcmul_(velocity, c["rate_v"]).addcmul_(g_KP, c["rate_g"])
