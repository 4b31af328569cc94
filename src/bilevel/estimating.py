"""The choice of an estimator by the name in a config."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from src.bilevel.estimators.conjugate_gradient import conjugate_gradient
from src.bilevel.estimators.direct import direct
from src.bilevel.estimators.neumann import neumann
from src.bilevel.estimators.one_step import one_step
from src.bilevel.estimators.unrolled import unrolled
from src.bilevel.problem import Problem
from src.bilevel.settings import Settings

Estimator = Callable[[Problem, Tensor, Tensor], Tensor]


def estimator(settings: Settings) -> Estimator:
    """Return the function that estimates hypergradients [K, V] from a problem, weights [K, P] and outer variables [K, V]."""
    estimators: dict[str, Estimator] = {
        "direct": direct,
        "one_step": one_step,
        "look_ahead": partial(one_step, look_ahead=True),
        "unrolled": unrolled,
        "neumann": partial(neumann, terms=settings.steps),
        "conjugate_gradient": partial(conjugate_gradient, iterations=settings.steps),
    }
    return estimators[settings.estimator]


def batches_needed(settings: Settings) -> int:
    """Return how many of the latest training batches the estimator looks at."""
    return settings.steps if settings.estimator == "unrolled" else 1
