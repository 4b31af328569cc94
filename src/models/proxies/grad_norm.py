"""The norm of the loss's gradient (Abdelfattah et al. 2021)."""

import torch
from torch import Tensor, nn

from src.models.proxy import Loss


def grad_norm(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """Sum the Euclidean norms of the gradients of all weights.

    Args:
        model: untrained.
        x: a batch [B, *input_shape].
        y: its targets [B].
        loss: of outputs [B, C] and targets.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss(model(x), y), weights, allow_unused=True)
    return float(sum(gradient.norm() for gradient in gradients if gradient is not None))
