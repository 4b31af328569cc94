"""The hypergradient through one gradient step on the weights: T1–T2, and the second-order step of DARTS."""

from torch import Tensor

from src.bilevel.problem import Problem, gradient, mixed_product, outer_gradients


def one_step(problem: Problem, weights_KP: Tensor, variables_KV: Tensor, look_ahead: bool = False) -> Tensor:
    """Estimate the hypergradient [K, V] as if the weights depended on the outer variables by their latest step alone.

    It is -rate · ∂²L/∂φ∂w · ∂(outer)/∂w, the first term of the Neumann series. What it lacks is largest in directions in
    which the training loss curves little, so it is too short, and its zero is not that of the hypergradient.

    Args:
        problem: the losses and the rate.
        weights_KP: the weights; they are thought to be those after the step.
        variables_KV: the outer variables.
        look_ahead: take the step, and judge the weights after it, which makes the derivative of that step exact (Liu et
            al. 2019, DARTS, without their finite differences); else judge the weights where they are (Luketina et al.
            2016, T1–T2).
    """
    judged_KP = weights_KP
    if look_ahead:
        judged_KP = weights_KP - problem.rate_K1 * gradient(problem.train[-1], weights_KP, variables_KV)
    by_weights_KP, direct_KV = outer_gradients(problem, judged_KP, variables_KV)
    return direct_KV - mixed_product(problem, weights_KP, variables_KV, problem.rate_K1 * by_weights_KP)
