"""An accuracy that the most frequent class has by itself is said, and none other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from src.ensembles.majority import majority_notes
from src.metrics.scoring import score


def note(right_of_rare: float, common: int = 990, rare: int = 10) -> str:
    """What is said of a model that has all common rows right, and a share of the rare ones."""
    y_N = np.repeat([0, 1], [common, rare])
    answers = y_N.copy()
    answers[common + round(right_of_rare * rare) :] = 0
    p_NC: NDArray[Any] = np.where(answers[:, None] == np.arange(2), 0.9, 0.1)
    return "".join(majority_notes(p_NC, y_N, y_N, ["ok", "fraud"], score("classification", p_NC, y_N)))


def test_the_majoritys_accuracy_is_said_with_measures_beside_it() -> None:
    assert note(0) == (
        "accuracy 99.00% on the test rows is that of the majority: to answer 'ok' always has 99.00%; "
        "balanced_accuracy 0.5 and macro_f1 0.497 count each class alike"
    )


@pytest.mark.parametrize(("right", "common", "rare"), [(0.9, 990, 10), (0.3, 100, 100)])
def test_what_tells_classes_apart_needs_no_word(right: float, common: int, rare: int) -> None:
    assert note(right, common, rare) == ""


def test_one_lucky_row_is_within_chance() -> None:
    assert note(0.1).startswith("accuracy 99.10% on the test rows is that of the majority")


def test_classes_as_frequent_as_each_other_have_a_majority_too() -> None:
    assert note(0, 100, 100).startswith("accuracy 50.00% on the test rows is that of the majority")
