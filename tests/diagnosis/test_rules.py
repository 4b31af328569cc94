"""Curves drawn as textbooks draw them, and what is said of each."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from src.diagnosis.rules import KINDS, diagnose, diagnosis_of, least
from src.system.reason import Reason

E = np.arange(30)
FALL = 2.0 * np.exp(-E / 4) + 0.3  # settles
JUMPING = 0.5 + 0.2 * (-1.0) ** E
Curves = Mapping[str, Sequence[float]]


def run(train: Sequence[float] | np.ndarray, val: Sequence[float] | np.ndarray, **more: float) -> Curves:
    """Curves; a statistic given as a number stays what it is."""
    constant = {name.replace("_", "/"): [value] * len(train) for name, value in more.items()}
    return {"train/loss": list(train), "val/loss": list(val), **constant}


TEXTBOOK: list[tuple[str, Curves, float | None, str]] = [
    ("diverged", run([2.0, math.nan], [2.0, 1.9]), None, "training loss is nan after epoch 2"),
    ("diverged", run([2.0, 1.9], [2.0, math.inf]), None, "validation loss is inf after epoch 2"),
    ("diverged", run([4e3, 2.3, 2.3, 2.3], [2.4, 2.3, 2.3, 2.31]), None, "training loss was 4e+03 in epoch 1"),
    ("diverged", run([2.0, 3.0, 5.0], [2.0, 3.0, 5.0]), None, "ends at 5, after 2 in epoch 1"),
    ("diverged", run([900, 90, 40], [200, 50, 30], val_accuracy=0.1), None, "never came below 30"),
    ("unstable", run(JUMPING, JUMPING), None, "jumps by"),
    ("unstable", run(JUMPING, JUMPING, update_ratio=0.4), None, "moves the weights by 40% of their length"),
    ("dead units", run(FALL, FALL, dead_share=0.8), None, "80% of the units"),
    ("vanishing gradients", run(FALL, FALL, grad_ratio=1e-6), None, "1e-06 of the last layer's"),
    (
        "overfitting",
        run(FALL, np.where(E < 9, FALL, FALL[8] + 0.02 * (E - 8))),
        None,
        "from epoch 9 while training loss falls",
    ),
    ("too slow", run(2.3 - 0.005 * E, 2.3 - 0.005 * E), 0.3, "raise the rate"),
    ("too slow", run(2.3 - 0.005 * E, 2.3 - 0.005 * E), None, "more to"),
    ("still improving", run(FALL[:6], FALL[:6]), 0.3, "after 6: train for 9 epochs"),
    ("underfitting", run(FALL + 1.2, FALL + 1.2), 0.4, "against 0.4 that another run reached"),
    ("plateaued", run(0.3 + 2 * np.exp(-2.0 * E), 0.3 + 2 * np.exp(-2.0 * E)), 0.3, "since epoch 5"),
    ("healthy", run(FALL, FALL + 0.02), 0.3, "0.32"),
]


@pytest.mark.parametrize(("kind", "curves", "reference", "words"), TEXTBOOK)
def test_a_textbook_curve(kind: str, curves: Curves, reference: float | None, words: str) -> None:
    found = diagnose(curves, reference)
    assert found.kind == kind
    assert words in str(found)


def test_every_kind_is_in_the_textbook() -> None:
    assert {kind for kind, *_ in TEXTBOOK} == set(KINDS)


def test_training_loss_alone_is_enough() -> None:
    assert diagnose({"train/loss": list(FALL)}).kind == "healthy"
    assert diagnose({"train/loss": [2.0, math.nan]}).kind == "diverged"


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("curve", [FALL, JUMPING, -FALL, np.zeros(30), np.full(30, math.nan)])
def test_a_short_or_odd_curve_has_a_diagnosis_too(length: int, curve: np.ndarray) -> None:
    assert diagnose(run(curve[:length], curve[:length])).kind in KINDS


def test_a_constant_factor_changes_no_kind() -> None:
    """The unit of a loss, dollars or thousands, is none of its business."""
    for kind, curves, reference, _ in TEXTBOOK:
        if "val/accuracy" in curves:  # a cross-entropy, whose unit is known
            continue
        scaled = {n: [1e3 * v for v in c] if n.endswith("loss") else c for n, c in curves.items()}
        assert diagnose(scaled, reference and 1e3 * reference).kind == kind


def test_a_trial_says_why_it_ended_before_what_its_curves_say() -> None:
    sound = run(FALL, FALL)
    assert diagnosis_of(Reason.read("out of memory"), sound) == "out of memory"
    assert diagnosis_of(Reason.read(""), {}) == ""
    assert diagnosis_of(Reason.read(""), sound).startswith("healthy: ")
    assert diagnosis_of(Reason.read("diverged"), run([2.0, math.nan], [2.0, 2.1])).startswith(
        "diverged: training loss is nan after epoch 2"
    )
    assert diagnosis_of(Reason.read("diverged"), sound) == "diverged"


def test_the_least_loss_of_a_study_is_finite() -> None:
    assert least([run([1.0], [0.5]), run([0.1], [math.nan]), {}]) == 0.5
    assert least([]) is None
