"""The options of a searched config group side by side: the fastest optimizer need not be the one that ends best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from src.reporting import labels


def names(trials: Sequence[FrozenTrial]) -> list[str]:
    """List the parameters that are config groups: `optimizer`, but not `batch_size` or `model.norm`."""
    kinds = {name: kind for trial in trials for name, kind in trial.distributions.items()}
    return [name for name, kind in kinds.items() if "." not in labels.leaf(name) and _is_group(kind)]


def table(trials: Sequence[FrozenTrial], name: str, maximize: bool) -> list[dict[str, Any]]:
    """Compare the options of one config group by their trials, a row an option, the best first.

    Args:
        trials: all trials of a sweep.
        name: the parameter that is the group, as `names` lists it.
        maximize: whether a higher value is better.

    Returns:
        Rows with the keys option, trials and complete (both counts), and where there is a complete trial: best, median,
        value and epochs_to. `value` is the worst of the options' bests, so that each option has reached it, and
        `epochs_to` counts the epochs of its fastest trial until there.
    """
    sign = -1 if maximize else 1
    grouped: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if name in trial.params:
            grouped.setdefault(trial.params[name], []).append(trial)
    losses = {
        option: sorted(sign * t.value for t in group if t.state is TrialState.COMPLETE and t.value is not None)
        for option, group in grouped.items()
    }
    losses = {option: values for option, values in losses.items() if values}
    level = max((values[0] for values in losses.values()), default=0.0)
    rows = []
    for option, group in grouped.items():
        row: dict[str, Any] = {"option": option, "trials": len(group), "complete": len(losses.get(option, ()))}
        if values := losses.get(option):
            epochs_to_level = [epochs for trial in group if (epochs := _epochs_to(trial, sign, level)) is not None]
            median = sign * (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
            row |= {
                "best": sign * values[0],
                "median": median,
                "value": sign * level,
                "epochs_to": min(epochs_to_level, default=None),
            }
        rows.append(row)
    return sorted(rows, key=lambda row: sign * row["best"] if "best" in row else float("inf"))


def _is_group(kind: Any) -> bool:
    return isinstance(kind, CategoricalDistribution) and all(isinstance(choice, str) for choice in kind.choices)


def _epochs_to(trial: FrozenTrial, sign: int, level: float) -> int | None:
    """Count the epochs until a trial's loss (its value times `sign`) is first at most `level`; None: never."""
    return next((epoch for epoch, value in sorted(trial.intermediate_values.items()) if sign * value <= level), None)
