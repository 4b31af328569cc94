"""Baselines: their scores are those of scikit-learn on the same rows, and the same with any number of workers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss

from src.baselines.estimators import BASELINES, random_configurations, seconds_to_fit
from src.baselines.evaluation import Baselines, evaluate, verdict
from src.data.dataset import load, load_test
from src.data.preparing import prepare
from src.metrics.listing import selection
from tests.data.support import csv

NAMES = list(BASELINES)


def prepared(folder: Path, lines: list[str], task: str) -> Path:
    prepare(csv(folder, "\n".join(lines), task=task), folder / "out")
    return folder / "out"


def table(folder: Path, target: str, n: int = 400, classes: str = "yes no") -> Path:
    """Prepared rows of two numbers and a category, whose target follows from all three."""
    rng = np.random.default_rng(0)
    a, b, kind = rng.normal(size=n), rng.normal(size=n), rng.choice(["red", "green", "blue"], n)
    value = a * 2 + (kind == "red") * b * 3 + rng.normal(size=n) * 0.1
    words = classes.split()
    y = value if target == "regression" else np.where(value > 0.3, words[0], words[1])
    lines = ["a,b,kind,y", *(f"{i:.5f},{j:.5f},{k},{t}" for i, j, k, t in zip(a, b, kind, y, strict=True))]
    return prepared(folder, lines, target)


def evaluated(folder: Path, names: list[str] = NAMES, refit: bool = False, workers: int = 1) -> Baselines:
    task = load(folder).meta.task
    return evaluate(names, folder, load_test(folder), selection(task, None), refit, 0, workers)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three random configurations in the place of twenty, which take long."""
    monkeypatch.setattr("src.baselines.evaluation.CONFIGURATIONS", 3)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("classes"), "classification")


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("values"), "regression")


def test_boosting_is_scikit_learns_with_its_defaults(classes: Path) -> None:
    data, (x_test, y_test) = load(classes), load_test(classes)
    for refit in (False, True):
        x = np.concatenate([data.x_train, data.x_val]) if refit else data.x_train
        y = np.concatenate([data.y_train, data.y_val]) if refit else data.y_train
        theirs = HistGradientBoostingClassifier(categorical_features=[2], random_state=0).fit(x, y)
        ours = evaluated(classes, ["boosting"], refit).of_name["boosting"]
        assert ours.test["accuracy"] == accuracy_score(y_test, theirs.predict(x_test))
        assert ours.test["nll"] == pytest.approx(log_loss(y_test, theirs.predict_proba(x_test)), rel=1e-9)


def test_the_majority_is_the_share_of_the_commonest_class_and_the_mean_has_no_r2(classes: Path, values: Path) -> None:
    share = max(np.bincount(load(classes).y_train)) / len(load(classes).y_train)
    majority = evaluated(classes, ["majority"]).of_name["majority"]
    assert majority.predictions.max() == pytest.approx(share)
    mean = evaluated(values, ["majority"]).of_name["majority"]
    assert mean.val["r2"] == pytest.approx(0, abs=0.05)


def test_values_are_in_the_targets_own_unit(values: Path) -> None:
    truth = load_test(values)[1]
    baselines = evaluated(values, refit=True).of_name
    assert baselines["boosting"].test["rmse"] < 0.6 * np.std(truth)
    assert baselines["linear"].test["rmse"] < 0.7 * np.std(truth), "the linear part of the truth"
    assert baselines["linear"].test["rmse"] > 0.5, "and no more than that"


def test_the_same_bits_with_any_number_of_workers(classes: Path) -> None:
    one, two = evaluated(classes), evaluated(classes, workers=2)
    for name in BASELINES:
        assert one.of_name[name].params == two.of_name[name].params
        np.testing.assert_array_equal(one.of_name[name].predictions, two.of_name[name].predictions)


def test_the_tuned_one_is_the_best_of_its_configurations_on_the_validation_rows(classes: Path) -> None:
    tuned = evaluated(classes, ["boosting_tuned"]).of_name["boosting_tuned"]
    assert tuned.tried == 3
    data, losses = load(classes), []
    for params in random_configurations(0, 3):
        unfitted = HistGradientBoostingClassifier(
            categorical_features=[2], random_state=0, early_stopping=True, **params
        )
        fitted = unfitted.fit(data.x_train, data.y_train, X_val=data.x_val, y_val=data.y_val)
        losses.append(log_loss(data.y_val, fitted.predict_proba(data.x_val)))
    assert tuned.val["nll"] == pytest.approx(min(losses), rel=1e-9)


def test_what_takes_too_long_is_left_out_and_said(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.baselines.evaluation.SECONDS", 0.0)
    monkeypatch.setattr("src.baselines.evaluation.SECONDS_A_ROW", 1e-6)
    baselines = evaluated(classes)
    assert list(baselines.of_name) == ["majority", "linear"][: len(baselines.of_name)]
    assert "boosting is left out: 240 rows of 3 numbers would take it longer" in " ".join(baselines.notes)


def test_images_of_sixty_thousand_rows_are_not_boosted_and_a_table_of_thirty_thousand_is() -> None:
    """The estimate of the seconds: Fashion-MNIST in hours, Adult's defaults in about a second."""
    assert seconds_to_fit("boosting", 48_000, 784, 10, {"max_leaf_nodes": 31}) > 600
    assert 0.2 < seconds_to_fit("boosting", 26_048, 14, 2, {"max_leaf_nodes": 31}) < 3


def test_no_baselines_no_figures(classes: Path) -> None:
    none = evaluated(classes, [])
    metric = selection("classification", None)
    assert none.best(metric) is None
    assert none.figures(metric, np.zeros((1, 2)), np.zeros(1)) == {"baselines": {}}


def test_a_class_of_a_single_row_does_not_end_the_stage(tmp_path: Path) -> None:
    rows = [f"{k % 7},{k % 3},{'abc'[k % 2]}" for k in range(60)]
    folder = prepared(tmp_path, ["u,v,y", *rows, "1,2,c", "2,2,c", "3,2,c"], "classification")
    baselines = evaluated(folder)
    assert set(baselines.of_name) == set(BASELINES) - {note.split()[1] for note in baselines.notes}


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "worth it"),
        (-0.03, -0.01, "not worth it"),
        (-0.01, 0.03, "no better than a baseline beyond chance"),
    ],
)
def test_the_verdict_follows_the_interval(low: float, high: float, words: str) -> None:
    gain: dict[str, Any] = {"value": (low + high) / 2, "low": low, "high": high}
    sentence = verdict("boosting", "accuracy", gain, 0.9)
    assert words in sentence
    worse = verdict("boosting", "rmse", gain, 0.9)
    assert ("not worth it" in worse) is (low > 0), "a higher RMSE is worse"


def test_random_configurations_are_a_function_of_the_seed() -> None:
    assert random_configurations(1, 20) == random_configurations(1, 20)
    assert random_configurations(1, 20) != random_configurations(2, 20)
    assert random_configurations(1, 5) == random_configurations(1, 20)[:5]
