"""The gradient of the outer loss by the outer variables that stand in it: DARTS' first order."""

from torch import Tensor
from torch.func import grad

from src.bilevel.problem import Problem


def direct(problem: Problem, weights_KP: Tensor, variables_KV: Tensor) -> Tensor:
    """Compute the gradient [K, V] as if the weights did not depend on the outer variables (Liu et al. 2019, first order).

    Args:
        problem: has the outer loss.
        weights_KP: the weights.
        variables_KV: the outer variables.
    """
    gradient_KV: Tensor = grad(lambda variables: problem.outer(weights_KP, variables).sum())(variables_KV)
    return gradient_KV
