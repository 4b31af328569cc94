"""Optimizers over a stack of members, and schedules as pure functions of position.

An optimizer is a frozen dataclass of one member's hyperparameters. Its `update` takes those of all members as [K, 1]
columns and one step for the whole stack: parameters, gradients and state are flat [K, P] rows, one row a member.
To add one: a dataclass here and `conf/optimizer/<name>.yaml`; likewise a schedule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
From0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Below1 = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Protocol):
    """One member's hyperparameters, and the step of a whole stack."""

    lr: float
    state: ClassVar[tuple[str, ...]]

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """What the steps of an epoch need, each [S, K, 1] or [1, K, 1] float64, from the fields (`lr` follows its schedule).

        `step_SK1` counts each member's steps from 1.
        """

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Change `p_KP` and `state` in place; `c` holds this step's columns as [K, 1]. `g_KP` may be spoilt."""


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
        # p -= rate_v · v + rate_g · g, where Nesterov looks ahead: g + momentum · v in the place of v
        return {
            "weight_decay": h["weight_decay"],
            "momentum": h["momentum"],
            "rate_v": -h["lr"] * torch.where(h["nesterov"] > 0, h["momentum"], 1.0),
            "rate_g": -h["lr"] * h["nesterov"],
        }

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        g_KP.addcmul_(p_KP, c["weight_decay"])
        velocity = state["velocity"].mul_(c["momentum"]).add_(g_KP)
        p_KP.addcmul_(velocity, c["rate_v"]).addcmul_(g_KP, c["rate_g"])


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


TINY = torch.finfo(torch.float32).tiny


def root(x: Tensor, out: Tensor) -> Tensor:
    """The square root; `torch.sqrt` takes five times as long where many elements are zero, as in rectified nets."""
    return torch.add(x, TINY, out=out).rsqrt_().mul_(x)


class Schedule(Protocol):
    """The rate's factor at every step of a run."""

    def factor(self, step: NDArray[np.float64], total: int) -> NDArray[np.float64]:
        """Multiplies the member's rate. `step` counts from 0, `total` is the number of steps in the whole run."""
        ...


@dataclass(frozen=True)
class Constant:
    """The rate as it is."""

    def factor(self, step: NDArray[np.float64], total: int) -> NDArray[np.float64]:
        return np.ones_like(step)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `final`, after a linear warm-up over the share `warmup` of the run (SGDR's first cycle)."""

    warmup: Share = 0.0
    final: Share = 0.0

    def factor(self, step: NDArray[np.float64], total: int) -> NDArray[np.float64]:
        rise = self.warmup * total
        fall = np.clip((step - rise) / max(total - rise, 1), 0, 1)
        cosine = self.final + (1 - self.final) * (1 + np.cos(np.pi * fall)) / 2
        return np.where(step < rise, (step + 1) / max(rise + 1, 1), cosine)


@dataclass(frozen=True)
class Ramp:
    """From the member's rate to `times` as much, exponentially: the learning-rate range test (Smith 2015, fastai)."""

    times: float = 1e8

    def factor(self, step: NDArray[np.float64], total: int) -> NDArray[np.float64]:
        return np.asarray(self.times ** (step / max(total - 1, 1)), dtype=np.float64)
