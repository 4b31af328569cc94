"""Cross-validation: the training rows cut into folds, each of which one member does not train on, but is evaluated on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.engine.task import Outcome
from src.population.seeds import derived_seed
from src.system.data_meta import DataMeta
from src.system.errors import UserError


class Fold(NamedTuple):
    """Places of the rows that a member trains on (None: all), and of those that it is evaluated on (None: validation)."""

    rows: NDArray[np.int64] | None = None
    holdout_rows: NDArray[np.int64] | None = None


def folds(y_N: NDArray[Any], count: int, seed: int, class_names: Sequence[str]) -> list[Fold]:
    """Cut the training rows into `count` folds of equal sizes, and with equally many rows of a class, but for one.

    One fold is no cut: all rows train, and the validation rows judge.

    Args:
        y_N: the targets of the training rows; classes as whole numbers.
        count: how many folds.
        seed: the order in which rows are dealt out.
        class_names: the classes; empty for regression, which is not stratified.

    Raises:
        UserError: there are fewer rows than folds, or fewer of a class.
    """
    if count == 1:
        return [Fold()]
    _refuse_rare(y_N, count, class_names)
    order_N = np.random.default_rng(derived_seed(seed, "cut into folds", 0)).permutation(len(y_N))
    if class_names:
        order_N = order_N[np.argsort(y_N[order_N], kind="stable")]  # class by class, dealt out like cards
    holdout = [np.sort(order_N[place::count]) for place in range(count)]
    return [Fold(np.setdiff1d(np.arange(len(y_N)), rows_N), rows_N) for rows_N in holdout]


def trial_folds(y_N: NDArray[Any], count: int, meta: DataMeta) -> list[Fold]:
    """Cut the training rows as a sweep does, by the digest of the data: see `folds`.

    Args:
        y_N: the targets of the training rows.
        count: how many folds.
        meta: describes the data.

    Raises:
        UserError: there are fewer rows than folds, or fewer of a class.
    """
    return folds(y_N, count, int(meta.sha256[:8], 16), meta.class_names)


def _refuse_rare(y_N: NDArray[Any], count: int, class_names: Sequence[str]) -> None:
    sizes = np.bincount(y_N, minlength=len(class_names)) if class_names else np.array([len(y_N)])
    rarest = int(sizes.argmin())
    if sizes[rarest] < count:
        whose = f" of class {class_names[rarest]!r}" if class_names else ""
        raise UserError(
            f"objective.folds: {count} is more than the {sizes[rarest]} training rows{whose}; take fewer folds"
        )


def mean_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """Combine the outcomes of a trial's folds, in their order, into the trial's; a single one is returned as it is.

    Curves are means as far as all folds have come; one that has stopped early stays at its best epoch's point;
    `<name>_std` is the standard deviation of each `val/` curve over the folds (divided by their number, as scikit-learn
    does). The first error is the trial's; it has stopped once all its folds have.
    """
    if len(outcomes) == 1:
        return outcomes[0]
    failed = next((outcome for outcome in outcomes if outcome.error), outcomes[0])
    epochs = (min if failed.error else max)(outcome.epochs for outcome in outcomes)
    ends = ", ".join(str(outcome.epochs) for outcome in outcomes)
    stopped = all(outcome.stopped for outcome in outcomes)
    return replace(
        outcomes[0],
        epochs=epochs,
        curves=_means([_until(outcome, outcome.curves, epochs) for outcome in outcomes]),
        best_epoch_curves=_means([_until(outcome, outcome.best_epoch_curves, epochs) for outcome in outcomes]),
        seconds=sum(outcome.seconds for outcome in outcomes),
        began=min(outcome.began for outcome in outcomes),
        ended=max(outcome.ended for outcome in outcomes),
        error=failed.error,
        detail=failed.detail,
        origin=failed.origin,
        note=next((outcome.note for outcome in outcomes if outcome.note), ""),
        metrics={},
        stopped=f"stopped early: its folds after {ends} epochs" if stopped else "",
    )


Curves = Mapping[str, Sequence[float]]


def _until(outcome: Outcome, curves: Curves, epochs: int) -> Curves:
    """Return the curves as far as `epochs`, at the last point of the best epoch for a fold that has stopped."""
    if not outcome.stopped:
        return curves
    return {
        name: [*curve, *[outcome.best_epoch_curves[name][-1]] * (epochs - len(curve))] for name, curve in curves.items()
    }


def _means(folds: Sequence[Curves]) -> dict[str, list[float]]:
    curves, count = {}, len(folds)
    for name in sorted(set.intersection(*(set(fold) for fold in folds))):
        points = list(zip(*(fold[name] for fold in folds), strict=False))
        means = [sum(point) / count for point in points]
        curves[name] = means
        if name.startswith("val/"):
            pairs = zip(points, means, strict=True)
            curves[f"{name}_std"] = [math.dist(point, [mean] * count) / math.sqrt(count) for point, mean in pairs]
    return curves
