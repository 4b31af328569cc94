"""The hypergradient by the implicit function theorem, with conjugate gradients for the inverse of the Hessian."""

import torch
from torch import Tensor

from src.bilevel.problem import Problem, hessian_product, mixed_product, outer_gradients


def conjugate_gradient(problem: Problem, weights_KP: Tensor, variables_KV: Tensor, iterations: int) -> Tensor:
    """Estimate the hypergradient [K, V] at weights that are a minimum of the training loss.

    The system H q = ∂(outer)/∂w is solved by conjugate gradients (Pedregosa 2016), which need no rate. A member that meets a
    direction of no or negative curvature stops at what it has; at the first one that is the gradient itself, times the rate.

    Args:
        problem: the losses, and the rate.
        weights_KP: the weights.
        variables_KV: the outer variables.
        iterations: at most, each a product with the Hessian.
    """
    target_KP, direct_KV = outer_gradients(problem, weights_KP, variables_KV)
    multiply = hessian_product(problem, weights_KP, variables_KV)
    solution_KP, rest_KP, direction_KP = torch.zeros_like(target_KP), target_KP, target_KP
    rest_K1 = _dot(rest_KP, rest_KP)
    least_K1 = rest_K1 * torch.finfo(target_KP.dtype).eps ** 2
    going_K1 = rest_K1 > 0
    for iteration in range(iterations):
        curved_KP = multiply(direction_KP)
        curvature_K1 = _dot(direction_KP, curved_KP)
        if iteration == 0:
            solution_KP = torch.where(curvature_K1 > 0, solution_KP, problem.rate_K1 * target_KP)
        going_K1 = going_K1 & (curvature_K1 > 0) & (rest_K1 > least_K1)
        step_K1 = torch.where(going_K1, rest_K1 / curvature_K1, 0)
        solution_KP = solution_KP + step_K1 * direction_KP
        rest_KP = rest_KP - step_K1 * curved_KP
        before_K1, rest_K1 = rest_K1, _dot(rest_KP, rest_KP)
        direction_KP = rest_KP + torch.where(going_K1, rest_K1 / before_K1, 0) * direction_KP
    return direct_KV - mixed_product(problem, weights_KP, variables_KV, solution_KP)


def _dot(one_KP: Tensor, other_KP: Tensor) -> Tensor:
    """Return the products of members' vectors [K, 1], each summed alone, so that it is the same in any company."""
    return torch.stack([row_P.sum() for row_P in (one_KP * other_KP).unbind()])[:, None]
