"""Optimizers over a stack of members, one a file.

An optimizer is a frozen dataclass of one member's hyperparameters. Its `update` takes those of all members as [K, 1]
columns and one step for the whole stack: parameters, gradients and state are flat [K, P] rows, one row a member.
To add one: a dataclass in `src/optim/optimizers/<name>.py` and `conf/optimizer/<name>.yaml`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Protocol

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
        """What the steps of an epoch need, each [S, K, 1] or [1, K, 1] float64, from the fields.

        `lr`, and the `momentum` or `beta1` that a schedule cycles, are those of the step. `step_SK1` counts each member's
        steps from 1.
        """

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Change `p_KP` and `state` in place; `c` holds this step's columns as [K, 1]. `g_KP` may be spoilt."""


TINY = torch.finfo(torch.float32).tiny


def root(x: Tensor, out: Tensor) -> Tensor:
    """The square root; `torch.sqrt` takes five times as long where many elements are zero, as in rectified nets."""
    return torch.add(x, TINY, out=out).rsqrt_().mul_(x)


def rate_scale(config: Mapping[str, Any]) -> float:
    """What a trial's `optimizer.lr`, meant for `optimizer.base_batch` rows, is multiplied by for its own batches.

    `optimizer.scaling`: linear (Goyal et al. 2017), sqrt (Krizhevsky 2014; for Adam and its like Malladi et al. 2022), none.
    """
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[config["optimizer"].get("scaling", "none")]
    return float((config["batch_size"] / config["optimizer"]["base_batch"]) ** power) if power else 1.0


def warmup(config: Mapping[str, Any], epoch_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the scaled rate is multiplied by: over `optimizer.warmup_epochs` it rises from the rate of the base batch.

    Goyal et al. 2017, §2.2. A rate that scaling does not raise needs none.
    """
    begin = min(1 / rate_scale(config), 1.0)
    risen_S = np.minimum(epoch_S / float(config["optimizer"]["warmup_epochs"]), 1.0)
    return begin + (1 - begin) * risen_S
