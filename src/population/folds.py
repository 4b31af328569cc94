"""Cross-validation: the training rows cut into folds, each of which one member does not train on, but is evaluated on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError
from src.population.member import derived_seed


class Fold(NamedTuple):
    """The rows that a member trains on and those that it is evaluated on; None: all training rows, the validation rows."""

    rows: NDArray[np.int64] | None = None
    held: NDArray[np.int64] | None = None


def folds(y_N: NDArray[Any], count: int, seed: int, class_names: Sequence[str]) -> list[Fold]:
    """`count` folds that hold each row once, drawn by `seed`: of equal sizes, and with equally many of a class, but for one.

    Regression, which has no `class_names`, is not stratified. One fold is no cut.

    Raises:
        UserError: there are fewer rows than folds, or fewer of a class.
    """
    if count == 1:
        return [Fold()]
    _refuse_rare(y_N, count, class_names)
    order_N = np.random.default_rng(derived_seed(seed, 5, 0)).permutation(len(y_N))
    if class_names:
        order_N = order_N[np.argsort(y_N[order_N], kind="stable")]  # class by class, dealt out like cards
    held = [np.sort(order_N[place::count]) for place in range(count)]
    return [Fold(np.setdiff1d(np.arange(len(y_N)), held_N), held_N) for held_N in held]


def _refuse_rare(y_N: NDArray[Any], count: int, class_names: Sequence[str]) -> None:
    sizes = np.bincount(y_N, minlength=len(class_names)) if class_names else np.array([len(y_N)])
    rarest = int(sizes.argmin())
    if sizes[rarest] < count:
        whose = f" of class {class_names[rarest]!r}" if class_names else ""
        raise UserError(
            f"objective.folds: {count} is more than the {sizes[rarest]} training rows{whose}; take fewer folds"
        )
