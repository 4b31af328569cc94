"""AdaGrad."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from src.optim.optimizer import Above0, From0, root


@dataclass(frozen=True)
class Adagrad:
    """AdaGrad (Duchi et al. 2011), as `torch.optim.Adagrad`: the more a parameter has moved, the slower it moves."""

    lr: Above0
    lr_decay: From0 = 0.0
    eps: Above0 = 1e-10
    weight_decay: From0 = 0.0
    state: ClassVar[tuple[str, ...]] = ("square",)

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """Compute the columns of `update` from the hyperparameters `h`; the rate falls with the steps by `lr_decay`."""
        rate = -h["lr"] / (1 + (step_SK1 - 1) * h["lr_decay"])
        return {"weight_decay": h["weight_decay"], "eps": h["eps"], "rate": rate}

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Step `p_KP` against `g_KP` over the root of the sum of squares in `state`, by this step's columns `c`."""
        g_KP.addcmul_(p_KP, c["weight_decay"])
        square = state["square"].add_(scratch_KP := g_KP.square())
        denominator = root(square, out=scratch_KP).add_(c["eps"])
        p_KP.addcmul_(g_KP.div_(denominator), c["rate"])
