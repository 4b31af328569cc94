"""A figure of merit: what it is of, which way is better, and how it is written."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Task = Literal["classification", "regression"]


def _unchanged(mean: Array) -> Array:
    return mean


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit of predictions for one kind of task. Exactly one of `rows` and `whole` is given.

    Both take the predictions of K models (`ClassPredictions` or `ValuePredictions`). NaN says that it is undefined.

    Args:
        task: what is predicted, a class or a value.
        higher_is_better: whether a model with a higher figure is preferred.
        rows: what each row counts for, [K, N]; the figure is `from_mean` of the mean over rows.
        whole: the figure of all rows together, [K], where it is no mean over rows.
        from_mean: the figure from the mean over rows, such as its square root.
        percent: whether people write it in percent.
        per_epoch: whether it is computed after every epoch of a training, as the curve `val/<name>`. Not so where the
            loss tells it already or where it would take a noticeable share of the time.
        order: its place among the columns; of equals the names decide.
        name: that of its file.
    """

    task: Task
    higher_is_better: bool
    rows: Callable[[Any], Array] | None = None
    whole: Callable[[Any], Array] | None = None
    from_mean: Callable[[Array], Array] = _unchanged
    percent: bool = False
    per_epoch: bool = True
    order: int = 100
    name: str = ""

    def __post_init__(self) -> None:
        assert (self.rows is None) != (self.whole is None), "a metric is either of rows or of the whole"

    def loss(self, figure: float) -> float:
        """The figure as a number that is better when lower; what is undefined is infinitely bad."""
        return math.inf if math.isnan(figure) else -figure if self.higher_is_better else figure

    def __call__(self, predictions: Any) -> Array:
        """The figure of each of the K models whose predictions these are."""
        if self.whole:
            return self.whole(predictions)
        assert self.rows
        return self.from_mean(np.asarray(self.rows(predictions).mean(-1)))
