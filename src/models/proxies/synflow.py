"""Synaptic flow (Tanaka et al. 2020), as a score of architectures (Abdelfattah et al. 2021)."""

import torch
from torch import Tensor, nn

from src.models.proxy import Loss


def synflow(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """Measure the logarithm of what flows through the weights' absolute values, summed over weight · gradient.

    Normalisation is the identity in evaluation at its beginning, so that no row decides. Targets and loss are ignored.

    Args:
        model: untrained.
        x: a batch [B, *input_shape], of which the shape alone counts.
        y: its targets [B].
        loss: of outputs [B, C] and targets.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
    was_training = model.training
    model = model.eval().double()
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    flow = model(torch.ones_like(x[:1], dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    score = sum(float((w.detach() * g).abs().sum()) for w, g in zip(weights, gradients, strict=True) if g is not None)
    model.train(was_training)
    return float(torch.tensor(score, dtype=torch.float64).log1p())
