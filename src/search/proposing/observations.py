"""The results that a model of the objective may learn from: where trials train for different lengths, those of one rung."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from src.search.protocol import Point, Spec
from src.study.history import History, Trial

ENOUGH = 10  # values that a rung needs before a model looks at it


@dataclass(frozen=True)
class Observation:
    """A trial and its figures at the rung: the objectives, then how far each bounded measure lies above its bound.

    `figures` is empty for a trial in training, and for one that ended below the rung.
    """

    trial: Trial
    figures: tuple[float, ...]


def observations(spec: Spec, rungs: Sequence[int], history: History) -> list[Observation]:
    """The trials of earlier studies and of this one, seen as if the highest rung with enough values were the end.

    A failed trial counts as bad as the worst in every figure.

    Args:
        spec: the sweep.
        rungs: epochs at which trials report, ascending.
        history: the study so far.
    """
    trials = [*spec.earlier, *history.trials]
    rung = _rung(rungs, trials)
    wanted = set(spec.goals.measures)  # a trial that goes on from another has its values before it has its measures
    complete = [trial for trial in trials if wanted <= trial.measures.keys()]
    figures = {t.number: _figures(spec, t, value) for t in complete if (value := _value(t, rung)) is not None}
    worst = tuple(
        max(column) if place or history.direction == "minimize" else min(column)
        for place, column in enumerate(zip(*figures.values(), strict=True))
    )
    return [Observation(t, worst if t.state == "fail" else figures.get(t.number, ())) for t in trials]


def best_first(seen: Sequence[Observation], sign: int) -> list[Point]:
    """The points that have figures, by their first objective; `sign` is 1 where it is minimized, else -1."""
    return [o.trial.params for o in sorted((o for o in seen if o.figures), key=lambda o: sign * o.figures[0])]


def _figures(spec: Spec, trial: Trial, value: float) -> tuple[float, ...]:
    goals = spec.goals
    return (value, *(trial.measures[n] for n in goals.minimized), *goals.excess(trial.measures).values())


def _rung(rungs: Sequence[int], trials: Sequence[Trial]) -> int:
    """The highest rung with enough values, else the lowest."""
    for rung in reversed(rungs):
        if len(list(islice((t for t in trials if _value(t, rung) is not None), ENOUGH))) == ENOUGH:
            return rung
    return rungs[0]


def _value(trial: Trial, epochs: int) -> float | None:
    """The trial's finite value after so many epochs, if it came that far or was complete before."""
    if trial.state == "fail" or not trial.values or (trial.epochs < epochs and trial.state != "complete"):
        return None
    value = trial.values[min(epochs, trial.epochs) - 1]
    return value if math.isfinite(value) else None
