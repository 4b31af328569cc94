"""NASWOT: how many different linear pieces a batch of rows lies on (Mellor et al. 2021)."""

import numpy as np
import torch
from torch import Tensor, nn

from src.models.layers import ACTIVATIONS
from src.models.proxy import Loss


def naswot(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """Measure the log-determinant of how many activations two rows agree in, positive or not.

    Args:
        model: untrained.
        x: a batch [B, *input_shape].
        y: its targets [B].
        loss: of outputs [B, C] and targets.
    """
    agreement = np.zeros((len(x), len(x)))

    def note(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        active = (inputs[0].detach().flatten(1) > 0).double().numpy()
        agreement[:] += active @ active.T + (1 - active) @ (1 - active).T

    kinds = tuple(ACTIVATIONS.values())
    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    sign, logarithm = np.linalg.slogdet(agreement)
    return float(logarithm) if sign > 0 else float("-inf")
