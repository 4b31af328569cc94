"""Evaluation of baselines on the rows of the nets: training rows fit, validation rows choose, test rows judge."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.baselines.estimators import BOOSTING, estimator, probabilities, random_configurations, seconds_to_fit
from src.data.dataset import Dataset, load, train_targets, val_targets
from src.ensembles.evaluation import intervals
from src.metrics.listing import formatted, metrics
from src.metrics.metric import Metric
from src.metrics.scoring import score
from src.system.errors import first_line

CONFIGURATIONS = 20
SECONDS, SECONDS_A_ROW = 5.0, 1.5e-3  # of all fits of a baseline, by estimate: about a quarter of the default sweep's


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline: its scores of the validation and the test rows, and its predictions for the latter.

    `params` are what was chosen on the validation rows, of `tried` configurations; `seconds` is what all of it took.
    """

    val: dict[str, float]
    test: dict[str, float]
    predictions: NDArray[np.float64]
    seconds: float
    params: Mapping[str, Any] = field(default_factory=dict)
    tried: int = 1


@dataclass(frozen=True)
class Baselines:
    """The baselines by name, with why others are left out."""

    of_name: Mapping[str, Baseline]
    notes: Sequence[str] = ()

    def best(self, metric: Metric) -> str | None:
        """Name the best on the validation rows by `metric`; None where there is none."""
        return min(self.of_name, key=lambda name: metric.loss(self.of_name[name].val[metric.name]), default=None)

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that each took."""
        return {name: one.seconds for name, one in self.of_name.items()}

    def figures(self, metric: Metric, predictions: NDArray[Any], y_test: NDArray[Any]) -> dict[str, Any]:
        """Write what `metrics.json` has: the scores of each, and the ensemble's gain over the best with a verdict.

        Args:
            metric: chooses the best, on the validation rows.
            predictions: of the ensemble for the test rows, [N, C] or [N].
            y_test: their targets [N].
        """
        scores = {
            name: {"val": one.val, "test": one.test, "params": one.params, "tried": one.tried}
            for name, one in self.of_name.items()
        }
        best = self.best(metric)
        if best is None:
            return {"baselines": scores}
        theirs = self.of_name[best].predictions
        gain = intervals(metric.task, predictions, y_test, theirs)
        by = "accuracy" if "accuracy" in gain else "rmse"
        sentence = verdict(best, by, gain[by], self.of_name[best].test[by])
        return {"baselines": scores, "best_baseline": {"name": best, "gain": gain, "verdict": sentence}}


def evaluate(
    names: Sequence[str],
    folder: Path,
    test: tuple[NDArray[np.float32], NDArray[Any]],
    metric: Metric,
    refit: bool,
    seed: int,
    workers: int,
) -> Baselines:
    """Fit and score baselines on prepared data.

    Which configurations are tried follows from `seed` and the size of the data, not from the clock, and every fit has one
    thread: so the same inputs give the same bits, with any number of workers.

    Args:
        names: of the baselines.
        folder: of the prepared data.
        test: inputs [N, ...] and targets [N] of the test rows.
        metric: chooses between configurations.
        refit: whether the chosen one is fitted again on training and validation rows before it is judged, as the nets are.
        seed: of the command.
        workers: fits at a time.
    """
    from threadpoolctl import threadpool_limits

    rows = Rows(load(folder), train_targets(folder), val_targets(folder), *test)
    with (
        threadpool_limits(limits=1),
        warnings.catch_warnings(),
        _threads(workers) as fits,
        _threads(len(names) or 1) as each,
    ):
        warnings.simplefilter("ignore")  # of convergence, of rare classes: its scores say how good it is
        evaluated = list(each.map(lambda name: _evaluate(rows, name, metric, refit, seed, fits), names))
    fitted = {name: one for name, one in zip(names, evaluated, strict=True) if isinstance(one, Baseline)}
    return Baselines(fitted, [f"baseline {one}" for one in evaluated if isinstance(one, str)])


def _threads(count: int) -> ThreadPoolExecutor:
    """So many threads, in each of which OpenMP has one."""
    from threadpoolctl import threadpool_limits

    return ThreadPoolExecutor(count, initializer=threadpool_limits, initargs=(1, "openmp"))


def verdict(name: str, by: str, gain: Mapping[str, float], theirs: float) -> str:
    """Say in one sentence whether the nets were worth it.

    Args:
        name: of the best baseline.
        by: the metric that people know.
        gain: of the ensemble over the baseline by this metric, with its 95 % interval.
        theirs: the baseline's figure on the test rows.
    """
    sign = 1 if metrics()[by].higher_is_better else -1
    low, high = sorted(sign * gain[end] for end in ("low", "high"))
    figures = f"test {by} {formatted(theirs + gain['value'], by)}, {name}'s, the best baseline, {formatted(theirs, by)}"
    if low > 0:
        return f"the nets were worth it: {figures}"
    if high < 0:
        return f"the nets were not worth it: {figures}"
    return f"the nets are no better than a baseline beyond chance: {figures}"


@dataclass(frozen=True)
class Rows:
    """The rows of the three parts, flat, and their targets: of the data, `y_train` and `y_val` in the target's unit."""

    data: Dataset
    y_train: NDArray[Any]
    y_val: NDArray[Any]
    x_test: NDArray[np.float32]
    y_test: NDArray[Any]

    @property
    def task(self) -> str:
        """The kind of task."""
        return self.data.meta.task

    @property
    def n_classes(self) -> int:
        """The number of classes; 0 of values."""
        return self.data.meta.n_classes

    @cached_property
    def x(self) -> dict[str, NDArray[np.float32]]:
        """Inputs [N, F] of each part."""
        parts = {"train": self.data.x_train, "val": self.data.x_val, "test": self.x_test}
        return {part: np.asarray(x).reshape(len(x), -1) for part, x in parts.items()}

    @property
    def size(self) -> str:
        """The size of the training rows, for a sentence."""
        n, f = self.x["train"].shape
        return f"{n:,} rows of {f} numbers" + (f" and {self.n_classes} classes" if self.n_classes > 2 else "")

    def affordable(self, name: str, seed: int) -> list[dict[str, Any]]:
        """List the configurations of a baseline whose fits fit into its time, by estimate; `seed` decides random ones."""
        n, f = self.x["train"].shape
        wanted = random_configurations(seed, CONFIGURATIONS) if name == "boosting_tuned" else [{}]
        left, chosen = SECONDS + SECONDS_A_ROW * n, []
        for params in wanted:
            cost = seconds_to_fit(name, n, f, self.n_classes or 1, params or BOOSTING)
            if cost <= left:
                left -= cost
                chosen.append(params)
        return chosen

    def unfitted(self, name: str, seed: int, params: Mapping[str, Any]) -> Any:
        """Make the estimator of the baseline `name` for these rows, with `seed` and further arguments `params`."""
        return estimator(name, self.task, self.data.meta.categories, self.x["train"].shape[1], seed, **params)

    def predict(self, fitted: Any, part: str) -> NDArray[np.float64]:
        """Predict the rows of a part: probabilities [N, C], or values [N] in the target's unit."""
        if self.n_classes:
            return probabilities(fitted, self.x[part], self.n_classes)
        mean, std = self.data.meta.target_mean, self.data.meta.target_std
        return np.asarray(fitted.predict(self.x[part]) * std + mean, np.float64)


def _evaluate(
    rows: Rows, name: str, metric: Metric, refit: bool, seed: int, fits: ThreadPoolExecutor
) -> Baseline | str:
    """Evaluate one baseline, or say why it is left out."""
    began, configurations = time.monotonic(), rows.affordable(name, seed)
    if not configurations:
        return f"{name} is left out: {rows.size} would take it longer than a quarter of a sweep"
    try:
        tried = list(fits.map(lambda params: _fit(rows, name, seed, params), configurations))
        scores = [score(rows.task, rows.predict(fitted, "val"), rows.y_val) for fitted in tried]
        best = min(range(len(tried)), key=lambda k: metric.loss(scores[k][metric.name]))
        chosen, fitted = dict(configurations[best]), tried[best]
        if chosen:
            chosen["max_iter"] = int(fitted.n_iter_)
        if refit:
            fitted = fits.submit(_refit, rows, name, seed, chosen).result()
    except (ValueError, MemoryError) as error:
        return f"{name} is left out: {first_line(error)}"
    predictions = rows.predict(fitted, "test")
    test = score(rows.task, predictions, rows.y_test)
    return Baseline(scores[best], test, predictions, time.monotonic() - began, chosen, len(tried))


def _fit(rows: Rows, name: str, seed: int, params: Mapping[str, Any]) -> Any:
    """Fit on the training rows; a random configuration stops when the loss of the validation rows no longer falls."""
    x, data = rows.x, rows.data
    if not params:
        return rows.unfitted(name, seed, params).fit(x["train"], data.y_train)
    unfitted = rows.unfitted(name, seed, {**params, "early_stopping": True})
    unfitted.fit(x["train"], data.y_train, X_val=x["val"], y_val=data.y_val)
    return unfitted


def _refit(rows: Rows, name: str, seed: int, params: Mapping[str, Any]) -> Any:
    """Fit on training and validation rows; what was chosen, with the iterations that it was chosen with."""
    x, data = rows.x, rows.data
    chosen = {**params, "early_stopping": False} if params else {}
    both = (np.concatenate([x["train"], x["val"]]), np.concatenate([data.y_train, data.y_val]))
    return rows.unfitted(name, seed, chosen).fit(*both)
