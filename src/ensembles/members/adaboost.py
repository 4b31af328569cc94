"""AdaBoost: each member trains on rows that weigh the more, the more the members before were wrong about them."""

from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.ensembles.final_member import Config, FinalMember, Generations, TrainingContext
from src.ensembles.weak_learner import weak
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.errors import UserError


class Round(NamedTuple):
    """A member's say (None: it is no better than chance), and the weights [N] of the next one's rows, sum 1."""

    say: float | None
    weights: NDArray[np.float64]


def adaboost(
    best: Config,
    seed: int,
    context: TrainingContext,
    *,
    n: Annotated[int, Field(gt=0)],
    learning_rate: Annotated[float, Field(gt=0)],
    epochs: Annotated[int, Field(gt=0)] | None,
    model: dict[str, Any],
) -> Generations:
    """Up to `n` weak members; it ends early when one is right about all rows, no better than chance, or fails."""
    config, y_N, classes = weak(best, model, epochs), context.y_train, context.rows.meta["n_classes"]
    weights_N = np.full(len(y_N), 1 / len(y_N))
    items: list[FinalMember] = []
    for k in range(n):
        member = Member(config, derived_seed(seed, "adaboost", k), weights=(weights_N * len(y_N)).astype(np.float32))
        trained = yield [member]
        if not trained:
            break
        (one,) = trained
        predicted = one.predict(context.rows.x_train)
        if classes:
            say, weights_N = samme(predicted.argmax(1) != y_N, weights_N, classes, learning_rate)
        else:
            say, weights_N = r2(np.abs(predicted - y_N), weights_N, learning_rate)
        if say is None:
            break
        items.append(FinalMember(one, say))
        if not weights_N.any():
            break
    if not items:
        raise UserError("members: the first member of adaboost is no better than chance; give it more members.epochs")
    return items


def samme(wrong_N: NDArray[np.bool_], weights_N: NDArray[np.float64], classes: int, learning_rate: float) -> Round:
    """One round of SAMME (Zhu et al. 2009), as scikit-learn's; a member that is never wrong says 1 and is the last."""
    error = float(weights_N @ wrong_N)
    if error <= 0:
        return Round(1.0, np.zeros_like(weights_N))
    if error >= 1 - 1 / classes:
        return Round(None, weights_N)
    say = learning_rate * (np.log((1 - error) / error) + np.log(classes - 1))
    return Round(float(say), _normalized(weights_N * np.exp(say * wrong_N)))


def r2(distance_N: NDArray[Any], weights_N: NDArray[np.float64], learning_rate: float) -> Round:
    """One round of AdaBoost.R2 with the linear loss (Drucker 1997): rows weigh, where Drucker draws them by weight."""
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
