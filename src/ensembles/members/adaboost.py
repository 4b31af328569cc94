"""AdaBoost: each member trains on rows that weigh the more, the more the members before were wrong about them."""

from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.ensembles.final_member import FinalMember
from src.ensembles.protocol import Generations, TrainingContext
from src.ensembles.weak_learner import weak
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.errors import UserError
from src.system.trial_config import TrialConfig


class Round(NamedTuple):
    """The weight of a member (None: it is no better than chance), and those of the next one's rows, [N], sum 1."""

    member_weight: float | None
    row_weights: NDArray[np.float64]


def adaboost(
    best: TrialConfig,
    seed: int,
    context: TrainingContext,
    *,
    n: Annotated[int, Field(gt=0, le=10_000)],
    learning_rate: Annotated[float, Field(gt=0)],
    epochs: Annotated[int, Field(gt=0)] | None,
    model: dict[str, Any],
) -> Generations:
    """Make weak members one after another, until one is right about all rows, no better than chance, or fails.

    Args:
        best: the best trial's config.
        seed: of the command; every member's own is derived from it.
        context: the data.
        n: members at most.
        learning_rate: factor of every member's weight, and the power of what it changes in those of the rows.
        epochs: of each member; None: those of `best`.
        model: keys of the model that make it smaller than that of `best`.

    Raises:
        UserError: the first member is no better than chance, or the model has no such key.
    """
    config, y_N, classes = weak(best, model, epochs), context.y_train, context.rows.meta.n_classes
    weights_N = np.full(len(y_N), 1 / len(y_N))
    boosted: list[FinalMember] = []
    for k in range(n):
        member = Member(config, derived_seed(seed, "adaboost", k), weights=(weights_N * len(y_N)).astype(np.float32))
        trained = yield [member]
        if not trained:
            break
        (one,) = trained
        predicted = one.predict(context.rows.x_train)
        if classes:
            weight, weights_N = samme(predicted.argmax(1) != y_N, weights_N, classes, learning_rate)
        else:
            weight, weights_N = r2(np.abs(predicted - y_N), weights_N, learning_rate)
        if weight is None:
            break
        boosted.append(replace(one, weight=weight))
        if not weights_N.any():
            break
    if not boosted:
        raise UserError("members: the first member of adaboost is no better than chance; give it more members.epochs")
    return boosted


def samme(wrong_N: NDArray[np.bool_], weights_N: NDArray[np.float64], classes: int, learning_rate: float) -> Round:
    """Compute one round of SAMME (Zhu et al. 2009) as scikit-learn does; a member that is never wrong weighs 1 and ends it.

    Args:
        wrong_N: the rows whose class the member misses.
        weights_N: of the rows in its training, sum 1.
        classes: how many there are.
        learning_rate: factor of the member's weight.
    """
    error = float(weights_N @ wrong_N)
    if error <= 0:
        return Round(1.0, np.zeros_like(weights_N))
    if error >= 1 - 1 / classes:
        return Round(None, weights_N)
    weight = learning_rate * (np.log((1 - error) / error) + np.log(classes - 1))
    return Round(float(weight), _normalized(weights_N * np.exp(weight * wrong_N)))


def r2(distance_N: NDArray[Any], weights_N: NDArray[np.float64], learning_rate: float) -> Round:
    """Compute one round of AdaBoost.R2 with the linear loss (Drucker 1997); rows weigh, where Drucker draws them by weight.

    Args:
        distance_N: absolute errors of the member, in any unit.
        weights_N: of the rows in its training, sum 1.
        learning_rate: factor of the member's weight, and the power of what it changes in those of the rows.
    """
    if not distance_N.any():
        return Round(1.0, np.zeros_like(weights_N))
    loss_N = distance_N.astype(np.float64) / distance_N.max()
    loss = float(weights_N @ loss_N)
    if loss >= 0.5:
        return Round(None, weights_N)
    beta = loss / (1 - loss)
    return Round(float(-learning_rate * np.log(beta)), _normalized(weights_N * beta ** ((1 - loss_N) * learning_rate)))


def _normalized(weights_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(weights_N / weights_N.sum())
