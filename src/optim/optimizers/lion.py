"""Lion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from src.optim.optimizer import Above0, Below1, From0


@dataclass(frozen=True)
class Lion:
    """Lion (Chen et al. 2023): the sign of a momentum alone, with decoupled weight decay.

    Every step is of the size `lr`, so the rate is a third to a tenth of AdamW's, and the decay as many times larger.
    """

    lr: Above0
    beta1: Below1 = 0.9
    beta2: Below1 = 0.99
    weight_decay: From0 = 0.0
    state: ClassVar[tuple[str, ...]] = ("mean",)

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """Compute the columns of `update` from the hyperparameters `h`, the same at every step but for the rate."""
        keep = 1 - h["lr"] * h["weight_decay"]
        return {"keep": keep, "fresh1": 1 - h["beta1"], "fresh2": 1 - h["beta2"], "rate": -h["lr"]}

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Shrink `p_KP`, and step by the sign of the mean in `state` blended with `g_KP`, by this step's columns `c`."""
        direction_KP = torch.lerp(state["mean"], g_KP, c["fresh1"]).sign_()
        p_KP.mul_(c["keep"]).addcmul_(direction_KP, c["rate"])
        state["mean"].lerp_(g_KP, c["fresh2"])
