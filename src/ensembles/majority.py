"""The accuracy that the most frequent class alone has: a model that does no better has told no class from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.choice import gap

TELLING = ("balanced_accuracy", "macro_f1")  # measures in which each class counts alike


def majority_notes(
    p_NC: NDArray[Any],
    y_N: NDArray[Any],
    y_train: NDArray[Any],
    class_names: Sequence[str],
    scores: Mapping[str, float],
) -> list[str]:
    """Say that the accuracy of predictions is the majority's, within a standard error; no note where it is more.

    Args:
        p_NC: probabilities for N test rows.
        y_N: their classes.
        y_train: classes of the training rows, of which the most frequent is the majority.
        class_names: the names of the classes.
        scores: of the predictions, by metric.
    """
    majority = int(np.bincount(y_train).argmax())
    missed_N, missed_by_majority_N = (np.asarray(answer != y_N, np.float64) for answer in (p_NC.argmax(1), majority))
    if not gap(missed_by_majority_N, missed_N).is_within_one_error:
        return []
    others = " and ".join(f"{name} {scores[name]:.3g}" for name in TELLING)
    return [
        f"accuracy {scores['accuracy']:.2%} on the test rows is that of the majority: to answer "
        f"{class_names[majority]!r} always has {1 - missed_by_majority_N.mean():.2%}; {others} count each class alike"
    ]
