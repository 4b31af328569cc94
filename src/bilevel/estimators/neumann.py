"""The hypergradient by the implicit function theorem, with a Neumann series for the inverse of the Hessian."""

from torch import Tensor

from src.bilevel.problem import Problem, hessian_product, mixed_product, outer_gradients


def neumann(problem: Problem, weights_KP: Tensor, variables_KV: Tensor, terms: int) -> Tensor:
    """Estimate the hypergradient [K, V] at weights that are a minimum of the training loss.

    The inverse of the Hessian H is rate · Σ (1 - rate · H)^j for j up to `terms`, which converges where the rate is below
    2 / the largest eigenvalue of H, and H has no negative one (Lorraine et al. 2020). So many terms at a minimum are so many
    steps unrolled there, at the memory of one.

    Args:
        problem: the losses and the rate.
        weights_KP: the weights.
        variables_KV: the outer variables.
        terms: of the series after its first, each a product with the Hessian.
    """
    term_KP, direct_KV = outer_gradients(problem, weights_KP, variables_KV)
    multiply = hessian_product(problem, weights_KP, variables_KV)
    sum_KP = term_KP
    for _ in range(terms):
        term_KP = term_KP - problem.rate_K1 * multiply(term_KP)
        sum_KP = sum_KP + term_KP
    return direct_KV - mixed_product(problem, weights_KP, variables_KV, problem.rate_K1 * sum_KP)
