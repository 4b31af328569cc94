"""The search space: dimensions beside the defaults that they override, and choices between whole config groups.

A space is a tree. Each `choose` asks which option of a config group to take; a leaf is a config with its dimensions. A
dimension below a choice is named after it, `sgd/optimizer.lr`, so that two branches never share a parameter by accident.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.errors import UserError

FIELDS = {
    "float": {"type", "low", "high", "log", "step"},
    "int": {"type", "low", "high", "log", "step"},
    "categorical": {"type", "choices"},
}
Suggest = Callable[[str, BaseDistribution], Any]


@dataclass(frozen=True)
class Dimension:
    """One parameter: the config key that it sets, its distribution, and for choices the values themselves."""

    key: str
    distribution: BaseDistribution
    choices: Sequence[Any] = ()

    def value(self, suggested: Any) -> Any:
        """What the config takes for Optuna's value (a list is a categorical choice too, but not to Optuna)."""
        if not self.choices:
            return suggested
        return next(c for c in self.choices if _label(c) == suggested)


@dataclass(frozen=True)
class Leaf:
    """A config that lacks only the values of its dimensions, by parameter name."""

    config: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]


@dataclass(frozen=True)
class Choice:
    """One option of a config group is taken; `name` is the parameter."""

    name: str
    group: str
    options: Mapping[str, "Choice | Leaf"]


@dataclass(frozen=True)
class Space:
    """All configs that a sweep can try."""

    root: Choice | Leaf

    def walk(self, suggest: Suggest) -> dict[str, Any]:
        """The parameters of a point, each asked of `suggest(name, distribution)` in an order that never changes."""
        params: dict[str, Any] = {}
        node = self.root
        while isinstance(node, Choice):
            params[node.name] = suggest(node.name, CategoricalDistribution(list(node.options)))
            node = node.options[params[node.name]]
        for name, dimension in node.dimensions.items():
            params[name] = suggest(name, dimension.distribution)
        return params

    def distributions(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distributions of the parameters of a point."""
        found: dict[str, BaseDistribution] = {}

        def look_up(name: str, distribution: BaseDistribution) -> Any:
            found[name] = distribution
            return params[name]

        self.walk(look_up)
        return found

    def config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The whole config of a point."""
        node = self.root
        while isinstance(node, Choice):
            node = node.options[params[node.name]]
        config = deepcopy(dict(node.config))
        for name, dimension in node.dimensions.items():
            *path, last = dimension.key.split(".")
            section = config
            for part in path:
                section = section[part]
            section[last] = dimension.value(params[name])
        return config

    def leaves(self) -> Iterator[tuple[dict[str, str], Leaf]]:
        """Every leaf with the choices that lead to it."""
        pending: list[tuple[dict[str, str], Choice | Leaf]] = [({}, self.root)]
        while pending:
            chosen, node = pending.pop(0)
            if isinstance(node, Leaf):
                yield chosen, node
            else:
                pending += [({**chosen, node.name: option}, child) for option, child in node.options.items()]

    def describe(self) -> str:
        """The space as text: equal exactly when the space is."""
        leaves = [
            [chosen, {n: [d.key, _text(d.distribution)] for n, d in leaf.dimensions.items()}]
            for chosen, leaf in self.leaves()
        ]
        return json.dumps(leaves)


def dimensions(
    tree: Mapping[str, Any], config: Mapping[str, Any], prefix: Callable[[str], str]
) -> dict[str, Dimension]:
    """Parse a `space` tree against the config whose keys it names; `prefix(key)` goes before a parameter's name.

    Raises:
        UserError: a dimension that no key has, or whose bounds make no sense.
    """
    found = {}
    for key, entry in _entries(tree, ""):
        if not _has(config, key):
            raise UserError(f"space.{key}: the config has no key {key} to set; name an existing key or remove it")
        found[prefix(key) + key] = _dimension(key, entry)
    return found


def _entries(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, node in tree.items():
        key = f"{path}{name}"
        if not isinstance(node, Mapping):
            raise UserError(f"space.{key}: expected a dimension such as {{type: float, low: 0, high: 1}}, not {node!r}")
        if isinstance(node.get("type"), str):
            yield key, node
        else:
            yield from _entries(node, f"{key}.")


def _has(config: Mapping[str, Any], key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _dimension(key: str, entry: Mapping[str, Any]) -> Dimension:
    where, kind = f"space.{key}", entry["type"]
    if kind not in FIELDS:
        raise UserError(f"{where}.type: {kind!r} is none of {', '.join(FIELDS)}")
    if unknown := sorted(set(entry) - FIELDS[kind]):
        raise UserError(f"{where}.{unknown[0]}: unknown; a {kind} dimension has {', '.join(sorted(FIELDS[kind]))}")
    if kind == "categorical":
        choices = entry.get("choices")
        if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
            raise UserError(f"{where}.choices: expected a list with at least one value")
        labels = [_label(c) for c in choices]
        if repeated := [c for c, label in zip(choices, labels, strict=True) if labels.count(label) > 1]:
            raise UserError(f"{where}.choices: {repeated[0]!r} stands twice; name each value once")
        return Dimension(key, CategoricalDistribution(labels), list(choices))
    number = int if kind == "int" else float
    low, high, log, step = entry.get("low"), entry.get("high"), bool(entry.get("log", False)), entry.get("step")
    for name, value in (("low", low), ("high", high), *((("step", step),) if step is not None else ())):
        if isinstance(value, bool) or not isinstance(value, (int, number)):
            raise UserError(f"{where}.{name}: expected a number of type {kind}, not {value!r}")
    assert low is not None
    assert high is not None
    if low > high:
        raise UserError(f"{where}: low {low} is above high {high}; low must not exceed high")
    if log and low <= 0:
        raise UserError(f"{where}.low: a log scale needs low above 0, not {low}")
    if step is not None and (step <= 0 or log):
        raise UserError(f"{where}.step: expected a step above 0 on a linear scale")
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-9:
        raise UserError(f"{where}.step: {step} does not divide the range from {low} to {high}")
    if kind == "int":
        return Dimension(key, IntDistribution(low, high, log=log, step=step or 1))
    return Dimension(key, FloatDistribution(low, high, log=log, step=step))


def _label(choice: Any) -> None | bool | int | float | str:
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)


def _text(distribution: BaseDistribution) -> str:
    from optuna.distributions import distribution_to_json

    return distribution_to_json(distribution)
