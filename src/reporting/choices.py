"""The options of a searched choice side by side: which optimizer is fast, and which ends best, need not be the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from src.reporting import labels


def names(trials: Sequence[FrozenTrial]) -> list[str]:
    """The parameters that are config groups: `optimizer`, but not `batch_size` or `model.norm`."""
    kinds = {name: kind for trial in trials for name, kind in trial.distributions.items()}
    return [name for name, kind in kinds.items() if "." not in labels.leaf(name) and _is_group(kind)]


def table(trials: Sequence[FrozenTrial], name: str, maximize: bool) -> list[dict[str, Any]]:
    """A row an option, the best first: trials, complete ones, the best and the median of these, epochs to a value.

    The value is the worst of the options' bests, so that each has come to it; `epochs_to` are those of the fastest trial
    on its own way there. An option without a complete trial has none of these figures.
    """
    sign = -1 if maximize else 1
    grouped: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if name in trial.params:
            grouped.setdefault(trial.params[name], []).append(trial)
    losses = {
        o: sorted(sign * t.value for t in own if t.state is TrialState.COMPLETE and t.value is not None)
        for o, own in grouped.items()
    }
    losses = {option: values for option, values in losses.items() if values}
    level = max((values[0] for values in losses.values()), default=0.0)
    rows = []
    for option, own in grouped.items():
        row: dict[str, Any] = {"option": option, "trials": len(own), "complete": len(losses.get(option, ()))}
        if values := losses.get(option):
            ways = [epochs for trial in own if (epochs := _epochs_to(trial, sign, level)) is not None]
            median = sign * (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
            row |= {
                "best": sign * values[0],
                "median": median,
                "value": sign * level,
                "epochs_to": min(ways, default=None),
            }
        rows.append(row)
    return sorted(rows, key=lambda row: sign * row["best"] if "best" in row else float("inf"))


def _is_group(kind: Any) -> bool:
    return isinstance(kind, CategoricalDistribution) and all(isinstance(choice, str) for choice in kind.choices)


def _epochs_to(trial: FrozenTrial, sign: int, level: float) -> int | None:
    """After how many epochs a trial's loss was first at most `level`."""
    return next((epoch for epoch, value in sorted(trial.intermediate_values.items()) if sign * value <= level), None)
