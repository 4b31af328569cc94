"""The objectives and constraints of a sweep: the names that a config gives them, and the figures that they are.

All are to be minimized, except that the first may be a metric that is better when higher, `val/<metric>`, which is then
maximized. `val/error` is 1 − accuracy, or the RMSE; as the first objective it is the curve `val/accuracy`, to be
maximized, as people expect to read it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.metrics.listing import metrics, metrics_of
from src.study.history import Direction, Goals
from src.system.errors import UserError, require_one_of

BEFORE_TRAINING = ("parameters", "operations")  # of a config, before it trains
LATENCY = "latency_ms"  # measured, so not the same in every run
ERROR = "val/error"
VAL = "val/"


@dataclass(frozen=True)
class Objectives:
    """The objectives of a sweep: `metric` is the curve of the first, `goals` names whatever counts beside it."""

    metric: str
    direction: Direction
    goals: Goals

    @property
    def before_training(self) -> list[str]:
        """The measures that a config has before it trains."""
        return [name for name in BEFORE_TRAINING if name in self.goals.measures]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics whose curves are needed although no training computes them unasked."""
        names = [name.removeprefix(VAL) for name in (self.metric, *self.goals.measures) if name.startswith(VAL)]
        return tuple(name for name in names if name != "rmse" and name in metrics() and not metrics()[name].per_epoch)

    def measured(self, curves: Mapping[str, Sequence[float]], latency_ms: float | None) -> dict[str, float]:
        """Read the further measures of a trial off its curves, and the latency where it has been measured."""
        measures = {} if latency_ms is None else {LATENCY: latency_ms}
        for name in self.goals.measures:
            if name == ERROR and "val/accuracy" in curves:
                measures[name] = round(1 - curves["val/accuracy"][-1], 12)  # 1 − 0.95 is 0.05, not a little more
            elif name == ERROR:
                measures[name] = curves["val/rmse"][-1]
            elif name in curves:
                measures[name] = curves[name][-1]
        return measures

    def lacks(self, measures: Mapping[str, float]) -> str:
        """The reason for which a trial with these measures cannot be compared with others, or ""."""
        missing = [name for name in self.goals.measures if math.isnan(measures.get(name, math.nan))]
        return f"its {missing[0]} cannot be told" if missing else ""

    def undefined(self, values: Sequence[float]) -> str:
        """The reason for which a trial with these values of the first objective cannot be compared with others, or ""."""
        return f"its {self.metric} is undefined on these rows" if any(map(math.isnan, values)) else ""


def objectives(names: Sequence[str] | None, bounds: Mapping[str, float], task: str) -> Objectives:
    """Resolve `objective.minimize` and `objective.constraints` of a config for a task.

    Args:
        names: those to be optimized, the first one a curve of the training; None for the task's own error.
        bounds: upper bounds of some.
        task: `classification` or `regression`.

    Raises:
        UserError: a name that means nothing, or twice the same, or a bound or a further objective that is better higher.
    """
    main = "val/rmse" if task == "regression" else "val/accuracy"
    curves = [ERROR, "train/loss", "val/loss", *(f"{VAL}{name}" for name in metrics_of(task))]
    names = [ERROR] if names is None else list(names)
    if not names:
        raise UserError("objective.minimize: name at least one, such as [val/error], or null for the task's own")
    for key, given_names in (("objective.minimize", names), ("objective.constraints", bounds)):
        for name in given_names:
            require_one_of(key, name, [*curves, *BEFORE_TRAINING, LATENCY])
    first, *further = names
    if first not in curves:
        raise UserError(
            f"objective.minimize: the first must be a curve of the training ({', '.join(curves)}), not {first}"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"objective.minimize: {twice[0]} stands twice; name each once")
    _refuse_rising("objective.minimize", further)
    _refuse_rising("objective.constraints", bounds)
    metric = main if first == ERROR else first
    return Objectives(metric, "maximize" if _rises(metric) else "minimize", Goals(tuple(further), dict(bounds)))


def _rises(name: str) -> bool:
    """Tell whether a curve is that of a metric that is better when higher."""
    metric = metrics().get(name.removeprefix(VAL)) if name.startswith(VAL) else None
    return metric is not None and metric.higher_is_better


def _refuse_rising(key: str, names: Sequence[str] | Mapping[str, float]) -> None:
    for name in names:
        if name == "val/accuracy":
            raise UserError(f"{key}: all are to be minimized, so say val/error in place of val/accuracy")
        if _rises(name):
            raise UserError(f"{key}: {name} is better when higher, so it can only be the first of objective.minimize")
