"""The members of a trial under cross-validation as one outcome: the mean of their curves, and its spread."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from src.population.worker import Outcome


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """What became of a trial, from what became of its folds, in their order; of a single one it is that.

    Curves are means, as far as all folds have come, of which one that has stopped early stays at what it has kept;
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
        kept=_means([_until(outcome, outcome.kept, epochs) for outcome in outcomes]),
        seconds=sum(outcome.seconds for outcome in outcomes),
        error=failed.error,
        detail=failed.detail,
        note=next((outcome.note for outcome in outcomes if outcome.note), ""),
        stopped=f"stopped early: its folds after {ends} epochs" if stopped else "",
    )


Curves = Mapping[str, Sequence[float]]


def _until(outcome: Outcome, curves: Curves, epochs: int) -> Curves:
    """The curves for so many epochs."""
    if not outcome.stopped:
        return curves
    return {name: [*curve, *[outcome.kept[name][-1]] * (epochs - len(curve))] for name, curve in curves.items()}


def _means(folds: Sequence[Curves]) -> dict[str, list[float]]:
    curves, count = {}, len(folds)
    for name in sorted(set.intersection(*(set(own) for own in folds))):
        points = list(zip(*(own[name] for own in folds), strict=False))
        means = [sum(point) / count for point in points]
        curves[name] = means
        if name.startswith("val/"):
            pairs = zip(points, means, strict=True)
            curves[f"{name}_std"] = [math.dist(point, [mean] * count) / math.sqrt(count) for point, mean in pairs]
    return curves
