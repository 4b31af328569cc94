"""Scores are those of scikit-learn; calibration is that of its definition."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, mean_squared_error, r2_score

from src.ensembles.evaluation import intervals
from src.metrics.listing import default_selection, metrics_of
from src.metrics.measures.ece import calibration_error
from src.metrics.scoring import score


def probabilities(n: int = 500, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    p_NC = draw.dirichlet(np.full(classes, 0.5), n)
    return p_NC, np.array([draw.choice(classes, p=p) for p in p_NC])


def test_classification_is_scikit_learn_s() -> None:
    p_NC, y_N = probabilities()
    found = score("classification", p_NC, y_N)
    assert found["accuracy"] == accuracy_score(y_N, p_NC.argmax(1))
    assert found["nll"] == pytest.approx(log_loss(y_N, p_NC), rel=1e-12)
    assert [*found][:4] == ["accuracy", "nll", "ece", "brier"]


def test_probabilities_of_32_bits_and_absent_classes_are_no_trouble() -> None:
    p_NC, _ = probabilities()
    y_N = np.ones(len(p_NC), int)
    found = score("classification", p_NC.astype(np.float32), y_N)
    assert found["nll"] == pytest.approx(-np.log(p_NC[:, 1]).mean(), rel=1e-5)
    certain = score("classification", np.eye(3, dtype=np.float32), np.array([0, 1, 0]))
    assert np.isfinite(certain["nll"])
    assert certain["accuracy"] == pytest.approx(2 / 3)


def test_regression_is_scikit_learn_s() -> None:
    draw = np.random.default_rng(0)
    y_N, predictions = draw.normal(50, 7, (2, 300))
    found = score("regression", predictions, y_N)
    assert found["rmse"] == pytest.approx(mean_squared_error(y_N, predictions) ** 0.5)
    assert found["mae"] == pytest.approx(mean_absolute_error(y_N, predictions))
    assert found["r2"] == pytest.approx(r2_score(y_N, predictions))


def test_calibration_error_by_hand() -> None:
    """Ten rows sure by 0.75, of which 6 hit; ten by 0.95, of which all hit: half of 0.15 and half of 0.05."""
    p_NC = np.array([[0.75, 0.25]] * 10 + [[0.95, 0.05]] * 10)
    y_N = np.array([0] * 6 + [1] * 4 + [0] * 10)
    assert calibration_error(p_NC, y_N) == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)


def test_calibration_error_of_who_is_always_sure_is_the_error_rate() -> None:
    y_N = np.array([0, 0, 0, 1])
    assert calibration_error(np.array([[1.0, 0.0]] * 4), y_N) == pytest.approx(0.25)


def test_calibration_error_vanishes_where_classes_are_drawn_from_the_probabilities() -> None:
    p_NC, _ = probabilities(50_000, 3)
    draws = np.random.default_rng(1).random(len(p_NC))
    y_N = (p_NC.cumsum(1) < draws[:, None]).sum(1)
    assert calibration_error(p_NC, y_N) < 0.01
    wrong = p_NC**3 / (p_NC**3).sum(1, keepdims=True)
    assert calibration_error(wrong, y_N) > 0.05


def test_ensembles_are_chosen_by_a_proper_score() -> None:
    assert default_selection("classification") in metrics_of("classification")
    assert default_selection("regression") == "rmse"


def test_a_confident_mistake_costs_the_same_everywhere() -> None:
    p_NC, y_N = np.array([[1.0, 0.0], [0.2, 0.8], [0.6, 0.4]]), np.array([1, 1, 0])
    assert score("classification", p_NC, y_N)["nll"] == intervals("classification", p_NC, y_N)["nll"]["value"]
    assert score("classification", p_NC, y_N)["nll"] == pytest.approx(-np.log([1e-12, 0.8, 0.6]).mean())
