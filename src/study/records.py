"""The records of a study, checked as they are read: what a file says is data, and may be damaged or made by a stranger."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from optuna.trial import FrozenTrial

from src.study.history import Goals, Trial, TrialState
from src.system.errors import UserError, shortened

Event = Mapping[str, Any]
MAX_FOLDS = 10_000
SECOND = "second value:"  # begins the attribute of a trial that was trained again, before its number
ALWAYS = ("slots", "metric", "fingerprint", "code")  # attributes that are there before the first trial
TYPES = {"metric": str, "fingerprint": str, "device": str, "kernel": str, "code": dict, "parts": dict, "accepted": list}


class Damaged(Exception):
    """A record that is missing or cannot be one."""


def notes(trial: FrozenTrial) -> dict[str, Any]:
    """Read the record of a trial beside its parameters; in the first studies all of it stood among the user's attributes."""
    return {**trial.user_attrs, **trial.system_attrs}


def ordered_events(trials: Sequence[FrozenTrial]) -> list[tuple[int, Event]]:
    """The starts and reports of all trials in their order, each with the number of its trial.

    Raises:
        Damaged: a record is missing between others, or cannot be one.
    """
    events: dict[int, tuple[int, Event]] = {}
    for trial in trials:
        for key, event in notes(trial).items():
            if key.startswith("event:"):
                events[int(key.removeprefix("event:"))] = trial.number, event
    for place, order in enumerate(sorted(events)):
        if place != order:
            raise Damaged(f"the record of event {place} is missing")
        number, event = events[order]
        _check(trials[number], event)
    return [events[order] for order in sorted(events)]


def check_attributes(attributes: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> None:
    """Refuse attributes of a study that no sweep can have written.

    Raises:
        Damaged: one is missing, or of another type.
    """
    for key in ALWAYS:
        if trials and key not in attributes:
            raise Damaged(f"its attribute {key} is missing")
    goals = attributes.get("goals", {"minimized": [], "bounds": {}})
    wrong = [key for key, kind in TYPES.items() if not isinstance(attributes.get(key, kind()), kind)]
    wrong += [key for key in ("folds", "slots", "candidates") if not _is_whole(attributes.get(key, 1), 1, MAX_FOLDS)]
    wrong += ["goals"] * (
        not all(type(name) is str for name in goals["minimized"]) or not _are_figures(goals["bounds"])
    )
    for key in wrong:
        raise Damaged(f"its attribute {key} cannot be {shortened(attributes[key])}")


def second_values(attributes: Mapping[str, Any], trials: int) -> dict[int, float | None]:
    """The objectives under a second seed, by trial; None where that training failed.

    Raises:
        Damaged: one is no number, or of none of the `trials`.
    """
    values = {int(key.removeprefix(SECOND)): value for key, value in attributes.items() if key.startswith(SECOND)}
    if not all(0 <= number < trials and (value is None or _is_number(value)) for number, value in values.items()):
        raise Damaged("a value of a second seed is none of its trials'")
    return values


def folder_below(root: Path, name: str) -> Path:
    """The folder of a name that a record gives, which must be one right below `root`.

    Raises:
        UserError: the name leads elsewhere.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UserError(
            f"study.root: a record names the folder {name!r}, which is not one below {root}; restore the study"
        )
    return root / name


def _check(trial: FrozenTrial, event: Event) -> None:
    """Refuse an event with a value of the wrong type: numbers in it become the names of files."""
    if "start" in event:
        source, before = event.get("from"), notes(trial)
        checks = [_is_whole(event["start"]), source is None or (len(source) == 2 and all(map(_is_whole, source)))]
        checks += [source is None or source[0] < trial.number, _is_whole(before.get("full"), 1)]
        checks += [_is_number(before.get("cost")), _are_figures(before.get("measures") or {})]
    else:
        times, texts = event.get("times") or (0.0, 0.0), (event["reason"], event.get("kind", ""))
        numbers = [
            event["seconds"],
            *times,
            *(x for curve in (event["report"], *event["curves"].values()) for x in curve),
        ]
        checks = [event["state"] in get_args(TrialState), all(map(_is_number, numbers)), len(times) == 2]
        checks += [_are_figures(event.get(name) or {}) for name in ("measures", "metrics")]
        checks += [type(text) is str for text in texts]
    if not all(checks):
        raise Damaged(f"a record of trial {trial.number} is none of a sweep's")


def check_trial(trial: Trial, goals: Goals) -> None:
    """Refuse a trial whose records do not belong together.

    Raises:
        Damaged: a curve has not all of its epochs, or a measure that is compared is missing.
    """
    if short := [name for name, curve in trial.curves.items() if len(curve) < trial.epochs]:
        raise Damaged(f"the curve {short[0]} of trial {trial.number} ends before the trial")
    if trial.state == "complete" and (not trial.values or not {*goals.minimized} <= trial.measures.keys()):
        raise Damaged(f"trial {trial.number} is complete without what it is compared by")


def _is_whole(value: Any, low: int = 0, high: int = 2**53) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= 2**53)


def _are_figures(value: Any) -> bool:
    return type(value) is dict and all(map(_is_number, value.values()))


def missing_value(trial: FrozenTrial, epochs: int) -> int | None:
    """The first epoch, up to `epochs`, of which a trial has no value on record."""
    return next((epoch for epoch in range(1, epochs + 1) if epoch not in trial.intermediate_values), None)
