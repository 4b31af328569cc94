"""The search space: dimensions beside the defaults that they override, and choices between whole config groups.

A space is a tree. Each `choose` asks which option of a config group to take; a leaf is a config with its dimensions. A
dimension below a choice is named after it, `sgd/optimizer.lr`, so that two branches never share a parameter by accident.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Dimension, Prior, label
from src.config.unknown_key import unknown_key
from src.system.errors import UserError, require_one_of

FIELDS = {
    "float": {"type", "low", "high", "log", "step", "prior", "points"},
    "int": {"type", "low", "high", "log", "step", "prior", "points"},
    "categorical": {"type", "choices", "prior"},
}
MOST_CHOICES = 1000
SPREAD = 0.2  # of a prior that says none


# --- parsing -----------------------------------------------------------------------------------------------------------


def dimensions(
    tree: Mapping[str, Any],
    config: Mapping[str, Any],
    prefix: Callable[[str], str],
    refuse: Callable[[str, Any], None],
) -> dict[str, Dimension]:
    """Parse a `space` tree against the config whose keys it names, into dimensions by the names of their parameters.

    Args:
        tree: the section `space`.
        config: of a trial.
        prefix: what goes before a parameter's name, by its key.
        refuse: raises UserError for a key and a value that it cannot have.

    Raises:
        UserError: a dimension that no key has, whose bounds make no sense, or with a value that its key cannot have.
    """
    parsed = {}
    for key, entry in _entries(tree, ""):
        if not _has(config, key):
            raise unknown_key(f"space.{key}", [f"space.{name}" for name in _leaves(config, "")])
        dimension = _dimension(key, entry, refuse)
        parsed[prefix(key) + key] = replace(dimension, prior=_prior(dimension, entry.get("prior")))
        for value in dimension.ends:
            try:
                refuse(key, value)
            except UserError as error:
                raise UserError(f"space.{key}: {value!r} cannot be tried ({error})") from None
    return parsed


def _entries(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dimension; null stands for none, so that a file can take one out."""
    for name, node in tree.items():
        key = f"{path}{name}"
        if node is None:
            continue
        if not isinstance(node, Mapping):
            raise UserError(f"space.{key}: expected a dimension such as {{type: float, low: 0, high: 1}}, not {node!r}")
        if any(not isinstance(node.get(field, {}), Mapping) for field in ("type", "low", "high", "choices")):
            yield key, node
        else:
            yield from _entries(node, f"{key}.")


def _leaves(config: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, node in config.items():
        if isinstance(node, Mapping):
            yield from _leaves(node, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def _has(config: Mapping[str, Any], key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _dimension(key: str, entry: Mapping[str, Any], refuse: Callable[[str, Any], None]) -> Dimension:
    where, kind = f"space.{key}", entry.get("type") or _kind(key, entry, refuse)
    require_one_of(f"{where}.type", kind, FIELDS)
    if unknown := sorted(set(entry) - FIELDS[kind]):
        raise unknown_key(f"{where}.{unknown[0]}", [f"{where}.{field}" for field in sorted(FIELDS[kind])])
    if kind == "categorical":
        return _categorical(key, entry.get("choices"))
    low, high = (_number(f"{where}.{end}", kind, entry.get(end)) for end in ("low", "high"))
    step = None if entry.get("step") is None else _number(f"{where}.step", kind, entry["step"])
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{where}.log: expected true or false, not {log!r}")
    if low > high:
        raise UserError(f"{where}: low {low} is above high {high}; low must not exceed high")
    if log and low <= 0:
        raise UserError(f"{where}.low: a log scale needs low above 0, not {low}")
    if step is not None and (step <= 0 or log):
        raise UserError(f"{where}.step: expected a step above 0 on a linear scale; a logarithmic one has step=null")
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-9:
        raise UserError(f"{where}.step: {step} does not divide the range from {low} to {high}")
    points = _points(f"{where}.points", entry.get("points"), step)
    if kind == "int":
        return Dimension(key, IntDistribution(int(low), int(high), log=log, step=int(step or 1)), points=points)
    return Dimension(key, FloatDistribution(low, high, log=log, step=step), points=points)


def _points(where: str, points: Any, step: float | None) -> int:
    if points is None:
        return 0
    if not isinstance(points, int) or isinstance(points, bool) or points < 2:
        raise UserError(f"{where}: expected a whole number of 2 or more, both ends included, not {points!r}")
    if step is not None:
        raise UserError(f"{where}: the step says already which values a grid tries; give one of the two")
    return points


def _prior(dimension: Dimension, entry: Any) -> Prior | None:
    """`{center: 1e-3, spread: 0.2}`, or the center alone."""
    where, d = f"space.{dimension.key}.prior", dimension.distribution
    if entry is None:
        return None
    fields = entry if isinstance(entry, Mapping) else {"center": entry}
    if unknown := sorted(set(fields) - {"center", "spread"}):
        raise unknown_key(f"{where}.{unknown[0]}", [f"{where}.center", f"{where}.spread"])
    center, spread = label(fields.get("center")), fields.get("spread", SPREAD)
    if isinstance(d, IntDistribution | FloatDistribution):
        center = _number(f"{where}.center", "int" if isinstance(d, IntDistribution) else "float", center)
        if not d.low <= center <= d.high:
            raise UserError(f"{where}.center: {center} is not within {d.low} to {d.high}")
    elif center not in d.choices:  # type: ignore[attr-defined]
        raise UserError(f"{where}.center: {fields.get('center')!r} is none of {', '.join(map(str, dimension.choices))}")
    if not isinstance(spread, int | float) or isinstance(spread, bool) or not 0 < spread <= 1:
        raise UserError(f"{where}.spread: expected a share of the range, above 0 and at most 1, not {spread!r}")
    return Prior(center, float(spread))


def _kind(key: str, entry: Mapping[str, Any], refuse: Callable[[str, Any], None]) -> str:
    """The type of a dimension that does not say it: a float, unless its key takes whole numbers only."""
    if "choices" in entry:
        return "categorical"
    try:
        refuse(key, float(entry["low"]))
    except UserError:
        return "int"
    except (KeyError, TypeError, ValueError):  # `low` is wrong, as will be said
        pass
    return "float"


def _categorical(key: str, choices: Any) -> Dimension:
    where = f"space.{key}.choices"
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise UserError(f"{where}: expected a list with at least one value, not {choices!r}")
    if len(choices) > MOST_CHOICES:
        raise UserError(
            f"{where}: {len(choices)} choices, each to be checked, are too many; name at most {MOST_CHOICES}"
        )
    labels = [label(c) for c in choices]
    if repeated := [c for c, label in zip(choices, labels, strict=True) if labels.count(label) > 1]:
        raise UserError(f"{where}: {repeated[0]!r} stands twice; name each value once")
    return Dimension(key, CategoricalDistribution(labels), list(choices))


def _number(where: str, kind: str, value: Any) -> float:
    """A finite number, whole for a dimension of whole ones."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (kind == "int" and value != int(value)):
        raise UserError(f"{where}: expected a {'whole' if kind == 'int' else 'finite'} number, not {value!r}")
    return int(value) if kind == "int" else value
