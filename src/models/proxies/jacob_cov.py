"""The correlation of the rows' Jacobians (Mellor et al. 2020, first version)."""

import numpy as np
import torch
from torch import Tensor, nn

from src.models.proxy import Loss

EPSILON = 1e-5


def jacob_cov(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """Score how differently the outputs of different rows depend on their inputs: the less correlated the higher.

    Args:
        model: untrained.
        x: a batch [B, *input_shape].
        y: its targets [B].
        loss: of outputs [B, C] and targets.
    """
    inputs = x.clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(model(inputs).sum(), inputs)
    rows = jacobian.flatten(1).double().numpy()
    rows = rows[rows.std(1) > 0]  # a row on which nothing depends correlates with none
    if len(rows) < 2:
        return float("-inf")
    values = np.linalg.eigvalsh(np.corrcoef(rows))
    return -float(np.sum(np.log(values.clip(0) + EPSILON) + 1 / (values.clip(0) + EPSILON)))
