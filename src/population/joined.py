"""The members of a trial under cross-validation as one outcome: the mean of their curves, and its spread."""

import math
from collections.abc import Sequence
from dataclasses import replace

from src.population.worker import Outcome


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """What became of a trial, from what became of its folds, in their order; of a single one it is that.

    Curves are means, as far as all folds have come; `<name>_std` is the standard deviation of each `val/` curve over the
    folds (divided by their number, as scikit-learn does). The first error is the trial's.
    """
    if len(outcomes) == 1:
        return outcomes[0]
    first, count = outcomes[0], len(outcomes)
    curves = {}
    for name in sorted(set.intersection(*(set(outcome.curves) for outcome in outcomes))):
        points = list(zip(*(outcome.curves[name] for outcome in outcomes), strict=False))
        means = [sum(point) / count for point in points]
        curves[name] = means
        if name.startswith("val/"):
            pairs = zip(points, means, strict=True)
            curves[f"{name}_std"] = [math.dist(point, [mean] * count) / math.sqrt(count) for point, mean in pairs]
    failed = next((outcome for outcome in outcomes if outcome.error), first)
    seconds, epochs = sum(outcome.seconds for outcome in outcomes), min(outcome.epochs for outcome in outcomes)
    note = next((outcome.note for outcome in outcomes if outcome.note), "")
    return replace(
        first, epochs=epochs, curves=curves, seconds=seconds, error=failed.error, detail=failed.detail, note=note
    )
