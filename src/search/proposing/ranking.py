"""The order of trials, best first, where some have trained for longer than others."""

import math
from collections.abc import Iterable, Sequence

from src.search.fidelity.rule import Fidelity
from src.study.history import Direction, Trial


def has_result(trial: Trial, rule: Fidelity) -> bool:
    """Tell whether a trial is over, or so far that it may stay paused for good."""
    over = trial.state in ("complete", "pruned", "fail")
    return over or (rule.leaves_paused and trial.epochs >= rule.first(trial.number))


def results(trials: Iterable[Trial], rule: Fidelity) -> list[Trial]:
    """The trials that have a result."""
    return [trial for trial in trials if has_result(trial, rule)]


def ranking(trials: Iterable[Trial], rungs: Sequence[int], direction: Direction) -> list[Trial]:
    """Order trials by value at the lowest rung; at each higher rung, those that are there exchange places among themselves.

    So a trial is never compared by a value that others had no time to reach. Failed and diverged trials come last.

    Args:
        trials: those to order.
        rungs: epochs at which trials report, ascending.
        direction: of the objective.
    """
    sign = 1 if direction == "minimize" else -1

    def at(trial: Trial, rung: int) -> float:
        value = sign * trial.values[min(rung, trial.epochs) - 1] if trial.state != "fail" and trial.values else math.inf
        return value if math.isfinite(value) else math.inf

    order = list(trials)
    for rung in rungs:
        there = [
            place
            for place, trial in enumerate(order)
            if rung == rungs[0] or trial.epochs >= rung or trial.state == "complete"
        ]
        by_value = sorted((order[place] for place in there), key=lambda trial: at(trial, rung))
        for place, trial in zip(there, by_value, strict=True):
            order[place] = trial
    return order
