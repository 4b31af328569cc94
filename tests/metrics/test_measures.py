"""Each metric is scikit-learn's, of one model as of many at once, and NaN where it is not defined."""

import ast
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from src.metrics import measures
from src.metrics.listing import formatted, metrics, metrics_of, place, selection
from src.metrics.predictions import ClassPredictions, ValuePredictions
from src.metrics.scoring import epoch_curves, row_losses, score
from src.system.errors import UserError

FOLDER = Path(measures.__path__[0])


def classified(n: int, classes: int, seed: int = 0, decimals: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties, the more the fewer decimals, and classes that are drawn from them."""
    draw = np.random.default_rng(seed)
    p_NC = draw.dirichlet(np.full(classes, 0.5), n)
    y_N = np.array([draw.choice(classes, p=p) for p in p_NC])
    return np.round(p_NC, decimals) + 1e-3, y_N


@pytest.mark.parametrize("decimals", [1, 9])
@pytest.mark.parametrize(("n", "classes"), [(300, 2), (300, 3), (500, 10)])
def test_metrics_of_classes_are_scikit_learns(n: int, classes: int, decimals: int) -> None:
    p_NC, y_N = classified(n, classes, decimals=decimals)
    figures = score("classification", p_NC, y_N)
    p_NC /= p_NC.sum(1, keepdims=True)
    answers_N = p_NC.argmax(1)
    assert figures["macro_f1"] == pytest.approx(f1_score(y_N, answers_N, average="macro"), abs=1e-12)
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y_N, answers_N), abs=1e-12)
    scores = p_NC[:, 1] if classes == 2 else p_NC
    assert figures["roc_auc"] == pytest.approx(roc_auc_score(y_N, scores, multi_class="ovr"), abs=1e-9)
    truth = y_N if classes == 2 else np.eye(classes)[y_N]
    assert figures["average_precision"] == pytest.approx(average_precision_score(truth, scores), abs=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_metrics_of_values_are_scikit_learns_to_the_bit(kind: type) -> None:
    values_N, y_N = np.random.default_rng(0).normal(50, 7, (2, 500)).astype(kind)
    figures = score("regression", values_N, y_N)
    assert figures["rmse"] == root_mean_squared_error(y_N, values_N)
    assert figures["mae"] == mean_absolute_error(y_N, values_N)
    assert figures["r2"] == r2_score(y_N, values_N)
    assert figures["crps"] == pytest.approx(figures["mae"], rel=1e-6)


def test_a_class_that_is_never_answered_has_an_f1_of_zero_and_one_without_rows_counts_not() -> None:
    p_NC = np.eye(4)[[0, 0, 0, 2]] + 1e-6
    figures = score("classification", p_NC, np.array([0, 0, 1, 2]))
    assert figures["macro_f1"] == pytest.approx((0.8 + 0.0 + 1.0) / 3)
    assert figures["balanced_accuracy"] == pytest.approx((1.0 + 0.0 + 1.0) / 3)


def test_a_constant_answer_ranks_as_chance_does() -> None:
    y_N = np.arange(30) % 3
    figures = score("classification", np.full((30, 3), 1 / 3), y_N)
    assert figures["roc_auc"] == 0.5
    assert figures["average_precision"] == pytest.approx(1 / 3)


def test_rows_of_one_class_leave_the_area_undefined_and_nothing_crashes() -> None:
    p_NC, _ = classified(20, 3)
    figures = score("classification", p_NC, np.zeros(20, int))
    assert np.isnan(figures["roc_auc"])
    assert figures["average_precision"] == 1.0
    assert all(np.isfinite(value) for name, value in figures.items() if name != "roc_auc")
    assert score("regression", np.ones(5), np.ones(5))["r2"] == 1.0


def test_predictions_that_are_no_numbers_crash_nothing() -> None:
    p_KNC = np.full((2, 9, 3), np.nan, np.float32)
    classes = ClassPredictions(p_KNC, np.zeros((2, 9), int), np.zeros((2, 9), int))
    assert epoch_curves(classes, tuple(metrics_of("classification"))).keys() >= {"val/macro_f1", "val/roc_auc"}
    assert np.isnan(epoch_curves(ValuePredictions(p_KNC[..., 0], p_KNC[..., 1]))["val/mae"]).all()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_member_has_the_same_bits_alone_and_among_others(task: str) -> None:
    draw, names = np.random.default_rng(0), tuple(metrics_of(task))
    if task == "classification":
        p_KNC = draw.dirichlet(np.ones(5), (7, 333)).astype(np.float32).transpose(0, 2, 1).copy().transpose(0, 2, 1)
        y_KN = draw.integers(0, 5, (7, 333))
        both = [ClassPredictions(p, y, p.argmax(2)) for p, y in ((p_KNC, y_KN), (p_KNC[3:4], y_KN[3:4]))]
        together, alone = (epoch_curves(predictions, names) for predictions in both)
    else:
        values_KN, y_KN = draw.normal(size=(2, 7, 333)).astype(np.float32)
        pairs = ((values_KN, y_KN), (values_KN[3:4], y_KN[3:4]))
        together, alone = (epoch_curves(ValuePredictions(*pair), names) for pair in pairs)
    assert {name: curve[3:4] for name, curve in together.items()} == alone


def test_rows_tell_what_the_whole_is() -> None:
    p_NC, y_N = classified(100, 4)
    losses, figures = row_losses("classification", p_NC, y_N), score("classification", p_NC, y_N)
    assert list(losses) == ["accuracy", "nll", "brier"]
    assert {name: float(loss_N.mean()) for name, loss_N in losses.items()} == {name: figures[name] for name in losses}
    values_N, y_N = p_NC[:, 0], p_NC[:, 1]
    losses = row_losses("regression", values_N, y_N)
    figures = score("regression", values_N, y_N)
    assert {n: float(metrics()[n].from_mean(loss_N.mean())) for n, loss_N in losses.items()} == {
        n: figures[n] for n in losses
    }


def test_a_metric_is_one_file_and_a_file_one_metric() -> None:
    assert set(metrics()) == {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    for name in metrics():
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), name
        assert not [other for other in metrics() if f"measures.{other} " in text], "metrics do not know one another"


def test_the_usual_metrics_come_first_and_others_by_name() -> None:
    assert list(metrics_of("regression")) == ["rmse", "mae", "r2", "crps"]
    names = list(metrics_of("classification"))
    assert names[:4] == ["accuracy", "nll", "ece", "brier"]
    assert names[4:] == sorted(names[4:])
    assert place("no metric") > place(names[-1])


def test_figures_are_written_as_people_do() -> None:
    assert formatted(0.9375, "val/accuracy, epoch 5") == "93.75%"
    assert formatted(0.9375, "balanced_accuracy") == "93.75%"
    assert formatted(0.93751, "val/macro_f1") == "0.9375"
    assert [formatted(value, "nll") for value in (None, float("nan"), 12345.0)] == ["–", "–", "12,345"]


def test_what_is_undefined_is_never_preferred() -> None:
    higher, lower = metrics()["macro_f1"], metrics()["nll"]
    assert sorted([0.2, float("nan"), 0.9], key=higher.loss)[:2] == [0.9, 0.2]
    assert sorted([0.2, float("nan"), 0.9], key=lower.loss)[:2] == [0.2, 0.9]


def test_an_ensemble_is_chosen_by_what_is_asked_for() -> None:
    assert [selection(task, None).name for task in ("classification", "regression")] == ["nll", "rmse"]
    assert selection("classification", "macro_f1").name == "macro_f1"
    with pytest.raises(UserError, match=r"^ensemble.select_by: 'macro_f2' is none of .*did you mean macro_f1"):
        selection("classification", "macro_f2")
    with pytest.raises(UserError, match=r"^ensemble.select_by: 'macro_f1' is none of rmse, mae, r2, crps"):
        selection("regression", "macro_f1")
