"""The form of an optimizer that steps a whole stack of members, and how its rate follows the batch size.

An optimizer is a frozen dataclass of one member's hyperparameters. Its `update` takes those of all members as [K, 1]
columns and one step for the whole stack: parameters, gradients and state are flat [K, P] rows, one row a member.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from src.system.trial_config import TrialConfig

Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
From0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Below1 = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Protocol):
    """Hyperparameters of one member, and the step of a whole stack; `state` names the tensors [K, P] that it keeps."""

    lr: float
    state: ClassVar[tuple[str, ...]]

    @staticmethod
    def columns(h: Mapping[str, Tensor], step_SK1: Tensor) -> dict[str, Tensor]:
        """Compute what `update` needs at the S steps of an epoch, each [S, K, 1] or [1, K, 1] float64, by name.

        Args:
            h: the fields of all members [1, K, 1]; `lr`, and the `momentum` or `beta1` that a schedule cycles, at each step.
            step_SK1: the number of each member's step, counted from 1.
        """

    @staticmethod
    def update(p_KP: Tensor, g_KP: Tensor, state: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> None:
        """Take one step, in place.

        Args:
            p_KP: the parameters of all members, changed.
            g_KP: their gradients, which may be spoilt.
            state: the tensors [K, P] that `state` of the class names, changed.
            c: this step's columns [K, 1], of `columns`.
        """


TINY = torch.finfo(torch.float32).tiny


def root(x: Tensor, out: Tensor) -> Tensor:
    """Write the square root of `x` to `out`.

    `torch.sqrt` takes five times as long where many elements are zero, as in rectified nets.
    """
    return torch.add(x, TINY, out=out).rsqrt_().mul_(x)


def rate_scale(config: TrialConfig) -> float:
    """Return the factor of a trial's `optimizer.lr`, meant for batches of `base_batch` rows, at its own batch size.

    `optimizer.batch_scaling.rule`: linear (Goyal et al. 2017), sqrt (Krizhevsky 2014; for Adam and its like Malladi et al.
    2022), none.
    """
    scaling = config.batch_scaling
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[scaling.rule]
    return float((config.batch_size / scaling.base_batch) ** power) if power else 1.0


def warmup(config: TrialConfig, epoch_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor [S] by which the scaled rate rises, over `batch_scaling.rise_epochs`, from that of the base batch.

    Goyal et al. 2017, §2.2. A rate that scaling does not raise needs none.
    """
    begin = min(1 / rate_scale(config), 1.0)
    risen_S = np.minimum(epoch_S / float(config.batch_scaling.rise_epochs), 1.0)
    return begin + (1 - begin) * risen_S
