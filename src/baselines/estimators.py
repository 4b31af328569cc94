"""Baselines that need no net: estimators of scikit-learn by the names that the key `baselines` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BASELINES = ("majority", "linear", "boosting", "boosting_tuned")
BOOSTING = {"max_iter": 100, "max_leaf_nodes": 31}  # scikit-learn's defaults, in so far as they say what a fit costs
MOST_ITERATIONS = 400  # of a random configuration, which stops when the validation loss no longer falls
MOST_BINS = 255  # of a feature, and so categories, that histogram boosting takes


def estimator(name: str, task: str, categories: Sequence[int], n_features: int, seed: int, **params: Any) -> Any:
    """Make the unfitted estimator of a baseline.

    Args:
        name: one of `BASELINES`.
        task: `classification` or `regression`.
        categories: numbers of categories of the last features, which are their indices.
        n_features: all features of a row.
        seed: of its random numbers.
        params: arguments of histogram boosting.
    """
    classes = task == "classification"
    first = n_features - len(categories)
    if name == "majority":
        from sklearn.dummy import DummyClassifier, DummyRegressor

        return DummyClassifier(strategy="prior") if classes else DummyRegressor()
    if name == "linear":
        return _linear(classes, list(range(first, n_features)), seed)
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    few = [first + place for place, count in enumerate(categories) if count < MOST_BINS]
    boosting = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return boosting(categorical_features=few or None, random_state=seed, **params)


def _linear(classes: bool, categorical: list[int], seed: int) -> Any:
    """Logistic or ridge regression of standardised numbers and one column a category."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), categorical), remainder=StandardScaler(), sparse_threshold=0.3
    )
    return make_pipeline(columns, LogisticRegression() if classes else Ridge(random_state=seed))


def random_configurations(seed: int, n: int) -> list[dict[str, Any]]:
    """Draw `n` configurations of histogram boosting; `seed` alone decides them."""
    rng = np.random.default_rng(seed)
    return [
        {
            "learning_rate": float(10 ** rng.uniform(-2, -0.5)),
            "max_leaf_nodes": int(2 ** rng.uniform(2.5, 7)),
            "min_samples_leaf": int(2 ** rng.uniform(1, 7)),
            "l2_regularization": float(10 ** rng.uniform(-4, 1)),
            "max_features": float(rng.uniform(0.4, 1)),
            "max_iter": MOST_ITERATIONS,
        }
        for _ in range(n)
    ]


def seconds_to_fit(name: str, n_rows: int, n_features: int, n_outputs: int, params: Mapping[str, Any]) -> float:
    """Estimate the seconds of a fit on one thread: a constant of its arguments, so the same on every machine.

    Histograms take rows × features for each level of a tree, splits the bins of each leaf's features. The estimate of
    a configuration that stops early counts the iterations that its rate needs, ten times its inverse.

    Args:
        name: one of `BASELINES`.
        n_rows: training rows.
        n_features: features of a row.
        n_outputs: classes, or 1 for values.
        params: arguments of histogram boosting.
    """
    cells = n_rows * n_features
    if name == "majority":
        return 0.0
    if name == "linear":
        return cells * n_outputs * 4e-8
    leaves = params["max_leaf_nodes"]
    tree = cells * np.log2(leaves) * 4e-9 + leaves * n_features * MOST_BINS * 7e-9
    iterations = (
        min(params["max_iter"], 10 / params["learning_rate"]) if "learning_rate" in params else BOOSTING["max_iter"]
    )
    return float(iterations * (n_outputs if n_outputs > 2 else 1) * tree)


def probabilities(fitted: Any, x_NF: NDArray[Any], n_classes: int) -> NDArray[np.float64]:
    """Predict rows `x_NF` by a `fitted` classifier: the probabilities of `n_classes` classes, 0 of those it has not seen."""
    p_NC = np.zeros((len(x_NF), n_classes))
    p_NC[:, fitted.classes_] = fitted.predict_proba(x_NF)
    return p_NC
