"""What a sweep is after: the names that a person gives to objectives and constraints, and where their figures come from.

All are to be minimized. `val/error` is 1 − accuracy, or the RMSE; as the first objective it is the curve `val/accuracy`,
to be maximized, as people expect to read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.study.history import Direction, Goals
from src.system.errors import UserError, known

KNOWN = ("parameters", "operations")  # of a config, before it trains
LATENCY = "latency_ms"  # measured, so not the same in every run
ERROR = "val/error"


@dataclass(frozen=True)
class Objectives:
    """`metric` is the curve of the first objective, `goals` names whatever counts beside it."""

    metric: str
    direction: Direction
    goals: Goals

    @property
    def known(self) -> list[str]:
        """The measures that a config has before it trains."""
        return [name for name in KNOWN if name in self.goals.measures]

    def reached(self, curves: Mapping[str, Sequence[float]], latency_ms: float | None) -> dict[str, float]:
        """The other measures, of a trial that has these curves; the latency where it has been measured."""
        found = {} if latency_ms is None else {LATENCY: latency_ms}
        for name in self.goals.measures:
            if name == ERROR and "val/accuracy" in curves:
                found[name] = round(1 - curves["val/accuracy"][-1], 12)  # 1 − 0.95 is 0.05, not a little more
            elif name == ERROR:
                found[name] = curves["val/rmse"][-1]
            elif name in curves:
                found[name] = curves[name][-1]
        return found

    def lacks(self, measures: Mapping[str, float]) -> str:
        """Why a trial with these measures cannot be compared with others, or ""."""
        missing = [name for name in self.goals.measures if name not in measures]
        return f"its {missing[0]} cannot be told" if missing else ""


def objectives(names: Sequence[str] | None, bounds: Mapping[str, float], task: str) -> Objectives:
    """What `objective.minimize` and `.constraints` of a config mean for a task.

    Raises:
        UserError: a name that means nothing, or twice the same.
    """
    main = "val/rmse" if task == "regression" else "val/accuracy"
    losses = [ERROR, "train/loss", "val/loss", *(["val/rmse"] if task == "regression" else [])]
    names = [ERROR] if names is None else list(names)
    if not names:
        raise UserError("objective.minimize: name at least one, such as [val/error], or null for the task's own")
    for key, given in (("objective.minimize", names), ("objective.constraints", bounds)):
        for name in given:
            if name == "val/accuracy":
                raise UserError(f"{key}: all are to be minimized, so say val/error in place of val/accuracy")
            known(key, name, [*losses, *KNOWN, LATENCY])
    first, *further = names
    if first not in losses:
        raise UserError(
            f"objective.minimize: the first must be a curve of the training ({', '.join(losses)}), not {first}"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"objective.minimize: {twice[0]} stands twice; name each once")
    goals = Goals(tuple(further), dict(bounds))
    if first != ERROR:
        return Objectives(first, "minimize", goals)
    return Objectives(main, "minimize" if task == "regression" else "maximize", goals)
