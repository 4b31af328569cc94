"""The metrics that there are: one a file of `measures/`, found by listing the folder."""

import math
from dataclasses import replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from src.metrics import measures
from src.metrics.metric import Metric
from src.system.errors import require_one_of


@cache
def metrics() -> dict[str, Metric]:
    """Every metric by its name, in the order of columns."""
    listed = []
    for module in iter_modules(measures.__path__):
        metric: Metric = import_module(f"{measures.__name__}.{module.name}").METRIC
        listed.append(replace(metric, name=module.name))
    return {metric.name: metric for metric in sorted(listed, key=lambda metric: (metric.order, metric.name))}


def metrics_of(task: str) -> dict[str, Metric]:
    """The metrics of a kind of task, in the order of columns."""
    return {name: metric for name, metric in metrics().items() if metric.task == task}


def default_selection(task: str) -> str:
    """The metric by which one ensemble is preferred to another unless another one is asked for: a proper score."""
    return "rmse" if task == "regression" else "nll"


def selection(task: str, wanted: str | None) -> Metric:
    """The metric by which ensembles are chosen: `wanted`, the value of `ensemble.select_by`, or the default of `task`.

    Raises:
        UserError: the task has no such metric.
    """
    if wanted is not None:
        require_one_of("ensemble.select_by", wanted, metrics_of(task))
    return metrics()[wanted or default_selection(task)]


def place(name: str) -> tuple[int, str]:
    """The place of a metric among columns; names that are no metric's come last."""
    order = list(metrics())
    return (order.index(name) if name in order else len(order)), name


def percent(name: str) -> bool:
    """Tell whether people write a metric in percent, by its name or that of its curve (`val/accuracy, epoch 5`)."""
    metric = metrics().get(name.rpartition("/")[2].partition(",")[0])
    return metric is not None and metric.percent


def formatted(value: float | None, name: str) -> str:
    """A figure as people write it, by the name of its metric or curve.

    Accuracies stand in percent, others have four digits; a dash stands for what is undefined.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if percent(name):
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
