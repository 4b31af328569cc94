"""Adam with decoupled weight decay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from src.optim.optimizer import Above0, Below1, From0
from src.optim.optimizers.adam import of_moments, step_by_moments


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
        """Compute the columns of `update` for the steps `step_SK1` from the hyperparameters `h`."""
        return {"keep": 1 - h["lr"] * h["weight_decay"], **of_moments(h, step_SK1)}

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Shrink `p_KP` by the decay, and step it by `g_KP`, the moments in `state` and this step's columns `c`."""
        step_by_moments(p_KP.mul_(c["keep"]), g_KP, state, c)
