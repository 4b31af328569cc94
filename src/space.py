"""The search space: dimensions beside the defaults that they override, and choices between whole config groups.

A space is a tree. Each `choose` asks which option of a config group to take; a leaf is a config with its dimensions. A
dimension below a choice is named after it, `sgd/optimizer.lr`, so that two branches never share a parameter by accident.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.errors import UserError, nearest

FIELDS = {
    "float": {"type", "low", "high", "log", "step", "prior", "points"},
    "int": {"type", "low", "high", "log", "step", "prior", "points"},
    "categorical": {"type", "choices", "prior"},
}
SPREAD = 0.2  # of a prior that says none
Suggest = Callable[[str, BaseDistribution], Any]


@dataclass(frozen=True)
class Prior:
    """Where a good value is believed to be, as Optuna takes it, and how far off that may be.

    `spread`: the standard deviation as a share of the range (of its logarithm where log); of choices, the share of others.
    """

    center: Any
    spread: float


@dataclass(frozen=True)
class Dimension:
    """One parameter: the config key that it sets, its distribution, for choices the values themselves, what is believed.

    `points`: how many values a grid tries, from end to end and even on its scale; 0: it is not said.
    """

    key: str
    distribution: BaseDistribution
    choices: Sequence[Any] = ()
    prior: Prior | None = None
    points: int = 0

    def value(self, suggested: Any) -> Any:
        """What the config takes for Optuna's value (a list is a categorical choice too, but not to Optuna)."""
        if not self.choices:
            return suggested
        return next(c for c in self.choices if _label(c) == suggested)

    @property
    def ends(self) -> list[Any]:
        """The lowest and the highest value, or every choice."""
        d = self.distribution
        return [d.low, d.high] if isinstance(d, IntDistribution | FloatDistribution) else list(self.choices)

    def describe(self) -> list[Any]:
        """The key, the distribution, what is believed of it, and a grid's points."""
        prior = [] if self.prior is None else [[self.prior.center, self.prior.spread]]
        return [self.key, _text(self.distribution), *prior, *([self.points] if self.points else [])]


@dataclass(frozen=True)
class Leaf:
    """A config that lacks only the values of its dimensions, by parameter name."""

    config: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]

    def ends(self) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """The config with one dimension at one of its ends, and which: (key, value, config)."""
        for dimension in self.dimensions.values():
            for value in dimension.ends:
                yield dimension.key, value, with_value(self.config, dimension.key, value)

    def describe(self) -> list[Any]:
        """The dimensions, and the config apart from their keys."""
        config = dict(self.config)
        for dimension in self.dimensions.values():
            config = with_value(config, dimension.key, None)
        return [config, {n: d.describe() for n, d in self.dimensions.items()}]


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

    def leaf(self, params: Mapping[str, Any]) -> Leaf:
        """Where the choices of a point lead."""
        node = self.root
        while isinstance(node, Choice):
            node = node.options[params[node.name]]
        return node

    def config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The whole config of a point."""
        leaf = self.leaf(params)
        config = dict(leaf.config)
        for name, dimension in leaf.dimensions.items():
            config = with_value(config, dimension.key, dimension.value(params[name]))
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

    def searches(self, key: str) -> bool:
        """Whether some trials have a value of their own for a key."""
        return any(d.key == key for _, leaf in self.leaves() for d in leaf.dimensions.values())

    def most_epochs(self) -> int:
        """The epochs of the longest trial."""
        found: list[int] = []
        for _, leaf in self.leaves():
            found += [end for key, end, _ in leaf.ends() if key == "epochs"] or [leaf.config["epochs"]]
        return max(found)

    def only(self, chosen: Mapping[str, str]) -> "Space":
        """The part of the space to which these choices lead."""

        def narrowed(node: Choice | Leaf) -> Choice | Leaf:
            if isinstance(node, Leaf):
                return node
            return replace(node, options={chosen[node.name]: narrowed(node.options[chosen[node.name]])})

        return Space(narrowed(self.root))

    def changed(self, change: Callable[[Leaf], Leaf]) -> "Space":
        """The space with every leaf changed."""

        def changed(node: Choice | Leaf) -> Choice | Leaf:
            if isinstance(node, Leaf):
                return change(node)
            return replace(node, options={option: changed(child) for option, child in node.options.items()})

        return Space(changed(self.root))

    def distinct(self) -> "Space":
        """Two branches may share a parameter's name only where they mean the same: else the branch goes before the name."""
        seen: dict[str, set[str]] = {}
        for _, leaf in self.leaves():
            for name, dimension in leaf.dimensions.items():
                seen.setdefault(name, set()).add(repr((dimension.distribution, dimension.prior)))

        def renamed(node: Choice | Leaf, path: str) -> Choice | Leaf:
            if isinstance(node, Choice):
                return Choice(node.name, node.group, {o: renamed(c, f"{path}{o}/") for o, c in node.options.items()})
            return Leaf(node.config, {path * (len(seen[n]) > 1) + n: d for n, d in node.dimensions.items()})

        return Space(renamed(self.root, ""))

    def describe(self) -> str:
        """The space as text: equal exactly when the space is."""
        return json.dumps([[chosen, *leaf.describe()] for chosen, leaf in self.leaves()], sort_keys=True)


def with_value(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The config with one dotted key set; the rest is shared."""
    first, _, rest = key.partition(".")
    return {**config, first: with_value(config[first], rest, value) if rest else value}


# --- parsing -----------------------------------------------------------------------------------------------------------


def dimensions(
    tree: Mapping[str, Any],
    config: Mapping[str, Any],
    prefix: Callable[[str], str],
    refuse: Callable[[str, Any], None],
) -> dict[str, Dimension]:
    """Parse a `space` tree against the config whose keys it names.

    `prefix(key)` goes before a parameter's name; `refuse(key, value)` raises UserError for a value that the key cannot have.

    Raises:
        UserError: a dimension that no key has, whose bounds make no sense, or with a value that its key cannot have.
    """
    found = {}
    for key, entry in _entries(tree, ""):
        if not _has(config, key):
            names = [f"space.{name}" for name in _leaves(config, "")]
            raise UserError(f"space.{key}: the config has no key {key} to set{nearest(f'space.{key}', names)}")
        dimension = _dimension(key, entry, refuse)
        found[prefix(key) + key] = replace(dimension, prior=_prior(dimension, entry.get("prior")))
        for value in dimension.ends:
            try:
                refuse(key, value)
            except UserError as error:
                raise UserError(f"space.{key}: {value!r} cannot be tried ({error})") from None
    return found


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
    if kind not in FIELDS:
        raise UserError(f"{where}.type: {kind!r} is none of {', '.join(FIELDS)}{nearest(str(kind), FIELDS)}")
    if unknown := sorted(set(entry) - FIELDS[kind]):
        hint = nearest(unknown[0], FIELDS[kind])
        raise UserError(f"{where}.{unknown[0]}: a dimension of type {kind} has {', '.join(sorted(FIELDS[kind]))}{hint}")
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
        raise UserError(f"{where}.step: expected a step above 0 on a linear scale")
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
    given = entry if isinstance(entry, Mapping) else {"center": entry}
    if unknown := sorted(set(given) - {"center", "spread"}):
        raise UserError(
            f"{where}.{unknown[0]}: a prior has center and spread{nearest(unknown[0], ['center', 'spread'])}"
        )
    center, spread = _label(given.get("center")), given.get("spread", SPREAD)
    if isinstance(d, IntDistribution | FloatDistribution):
        center = _number(f"{where}.center", "int" if isinstance(d, IntDistribution) else "float", center)
        if not d.low <= center <= d.high:
            raise UserError(f"{where}.center: {center} is not within {d.low} to {d.high}")
    elif center not in d.choices:  # type: ignore[attr-defined]
        raise UserError(f"{where}.center: {given.get('center')!r} is none of {', '.join(map(str, dimension.choices))}")
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
    labels = [_label(c) for c in choices]
    if repeated := [c for c, label in zip(choices, labels, strict=True) if labels.count(label) > 1]:
        raise UserError(f"{where}: {repeated[0]!r} stands twice; name each value once")
    return Dimension(key, CategoricalDistribution(labels), list(choices))


def _number(where: str, kind: str, value: Any) -> float:
    """A finite number, whole for a dimension of whole ones."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (kind == "int" and value != int(value)):
        raise UserError(f"{where}: expected a {'whole' if kind == 'int' else 'finite'} number, not {value!r}")
    return int(value) if kind == "int" else value


def _label(choice: Any) -> bool | int | float | str | None:
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)


def _text(distribution: BaseDistribution) -> str:
    from optuna.distributions import distribution_to_json

    return distribution_to_json(distribution)
