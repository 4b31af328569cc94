"""Adam with decoupled weight decay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from src.optim import Above0, Below1, From0, root


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay, as `torch.optim.AdamW` (Loshchilov & Hutter 2019)."""

    lr: Above0
    beta1: Below1 = 0.9
    beta2: Below1 = 0.999
    eps: Above0 = 1e-8
    weight_decay: From0 = 0.01
    state: ClassVar[tuple[str, ...]] = ("mean", "square")

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        correction1, correction2 = 1 - h["beta1"] ** step_SK1, 1 - h["beta2"] ** step_SK1
        return {
            "keep": 1 - h["lr"] * h["weight_decay"],
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "eps": h["eps"] * correction2.sqrt(),
            "rate": -h["lr"] * correction2.sqrt() / correction1,
        }

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        mean = state["mean"].lerp_(g_KP, c["fresh1"])
        square = state["square"].lerp_(g_KP.square_(), c["fresh2"])
        denominator = root(square, out=g_KP).add_(c["eps"])
        p_KP.mul_(c["keep"]).addcmul_(torch.div(mean, denominator, out=g_KP), c["rate"])
