"""Adam with Nesterov's momentum."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from src.optim.optimizer import Above0, Below1, From0, root


@dataclass(frozen=True)
class NAdam:
    """Adam that looks ahead (Dozat 2016), as `torch.optim.NAdam`: weight decay is L2, a part of the gradient.

    Its momentum rises from half of `beta1` as `momentum_decay` has it. Where a schedule cycles `beta1`, the corrections are
    those of its present value, as they are in Adam.
    """

    lr: Above0
    beta1: Below1 = 0.9
    beta2: Below1 = 0.999
    eps: Above0 = 1e-8
    weight_decay: From0 = 0.0
    momentum_decay: From0 = 0.004
    state: ClassVar[tuple[str, ...]] = ("mean", "square")

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """Compute the columns of `update` for the steps `step_SK1` from the hyperparameters `h`."""
        # momentum of step t: beta1 · rising(t); the correction wants the product of all until t
        t_T11 = torch.arange(1, int(step_SK1.max()) + 2, dtype=torch.float64)[:, None, None]
        rising_TK1 = 1 - 0.5 * 0.96 ** (t_T11 * h["momentum_decay"])
        product_TK1, now = rising_TK1.cumprod(0), step_SK1.long() - 1
        product = h["beta1"] ** step_SK1 * product_TK1.gather(0, now)
        product_ahead = h["beta1"] ** (step_SK1 + 1) * product_TK1.gather(0, now + 1)
        correction = (1 - h["beta2"] ** step_SK1).sqrt()
        return {
            "weight_decay": h["weight_decay"],
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "eps": h["eps"] * correction,
            "rate_g": -h["lr"] * correction * (1 - h["beta1"] * rising_TK1.gather(0, now)) / (1 - product),
            "rate_m": -h["lr"] * correction * h["beta1"] * rising_TK1.gather(0, now + 1) / (1 - product_ahead),
        }

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Step `p_KP` by `g_KP` and the mean over the root of the mean square in `state`, by this step's columns `c`."""
        g_KP.addcmul_(p_KP, c["weight_decay"])
        mean = state["mean"].lerp_(g_KP, c["fresh1"])
        square = state["square"].lerp_(scratch_KP := g_KP.square(), c["fresh2"])
        denominator = root(square, out=scratch_KP).add_(c["eps"])
        p_KP.add_(g_KP.mul_(c["rate_g"]).addcmul_(mean, c["rate_m"]).div_(denominator))
