"""The hypergradient through several gradient steps on the weights, by reverse mode."""

from torch import Tensor
from torch.func import grad

from src.bilevel.problem import Problem, gradient


def unrolled(problem: Problem, weights_KP: Tensor, variables_KV: Tensor) -> Tensor:
    """Compute the hypergradient [K, V] of the outer loss after a gradient step on each of the training batches.

    Exact for so many steps from these weights (Franceschi et al. 2017); time and memory grow with the steps. Few steps are
    biased as `one_step` is.

    Args:
        problem: the losses, of which every batch is a step, and the rate.
        weights_KP: the weights before the steps.
        variables_KV: the outer variables.
    """

    def judged(variables_KV: Tensor) -> Tensor:
        after_KP = weights_KP
        for loss in problem.train:
            after_KP = after_KP - problem.rate_K1 * gradient(loss, after_KP, variables_KV)
        return problem.outer(after_KP, variables_KV).sum()

    hypergradient_KV: Tensor = grad(judged)(variables_KV)
    return hypergradient_KV
