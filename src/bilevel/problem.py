"""A bilevel problem: outer variables, such as penalties, by which weights are trained, and a loss that judges the weights.

Everything is of K members at once, independent of each other: weights [K, P], outer variables [K, V], losses [K]. A sum over
members has each member's gradient in its row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.func import grad, vjp

Loss = Callable[[Tensor, Tensor], Tensor]  # of weights [K, P] and outer variables [K, V], for each member [K]
Gradient = Callable[[Tensor, Tensor], Tensor]  # of the same, for each weight [K, P]


@dataclass(frozen=True)
class Problem:
    """The losses of a bilevel problem at one moment of the training, differentiable twice.

    `train`: the training loss on each of several batches, the latest last; `outer`: the loss that judges. `rate_K1`: the
    rate of a gradient step on the weights. `coupled_gradient`: the gradient by the weights of those terms of the latest
    training loss in which outer variables stand, where that has a closed form; None: it is computed, of all terms.
    """

    train: Sequence[Loss]
    outer: Loss
    rate_K1: Tensor
    coupled_gradient: Gradient | None = None


def gradient(loss: Loss, weights_KP: Tensor, variables_KV: Tensor) -> Tensor:
    """Compute the gradient of a loss by the weights [K, P].

    Args:
        loss: of each member.
        weights_KP: where the gradient is taken.
        variables_KV: the outer variables there.
    """
    by_weights_KP: Tensor = grad(lambda weights: loss(weights, variables_KV).sum())(weights_KP)
    return by_weights_KP


def outer_gradients(problem: Problem, weights_KP: Tensor, variables_KV: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the outer loss's gradients by the weights [K, P] and, directly, by the outer variables [K, V].

    Args:
        problem: has the outer loss.
        weights_KP: where the gradients are taken.
        variables_KV: the same of the outer variables.
    """
    total = grad(lambda weights, variables: problem.outer(weights, variables).sum(), argnums=(0, 1))
    by_weights_KP, direct_KV = total(weights_KP, variables_KV)
    return by_weights_KP, direct_KV


def mixed_product(problem: Problem, weights_KP: Tensor, variables_KV: Tensor, vector_KP: Tensor) -> Tensor:
    """Multiply a vector by the mixed second derivative of the latest training loss: ∂/∂φ (∂L/∂w · v) [K, V].

    Args:
        problem: has the training loss, or the gradient of the part of it in which outer variables stand.
        weights_KP: where the derivative is taken.
        variables_KV: the same of the outer variables.
        vector_KP: v.
    """
    slope = problem.coupled_gradient or partial(gradient, problem.train[-1])
    (product_KV,) = vjp(lambda variables: slope(weights_KP, variables), variables_KV)[1](vector_KP)
    return product_KV  # type: ignore[no-any-return]


def hessian_product(problem: Problem, weights_KP: Tensor, variables_KV: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function that multiplies a vector [K, P] by the Hessian of the latest training loss, of each member.

    Args:
        problem: has the training loss.
        weights_KP: where the Hessian is taken.
        variables_KV: the outer variables there.
    """
    product: Any = vjp(lambda weights: gradient(problem.train[-1], weights, variables_KV), weights_KP)[1]

    def multiply(vector_KP: Tensor) -> Tensor:
        (product_KP,) = product(vector_KP)
        return product_KP  # type: ignore[no-any-return]

    return multiply
