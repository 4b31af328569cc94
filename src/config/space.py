"""The search space as a tree: choices between config groups, and leaves, which are configs with dimensions."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.renamed import first_name, with_first_names
from src.system.trial_config import TrialConfig

Suggest = Callable[[str, BaseDistribution], Any]


@dataclass(frozen=True)
class Prior:
    """A belief about a good value: `center`, as Optuna takes it, and how far off it may be.

    `spread`: the standard deviation as a share of the range (of its logarithm where log); of choices, the share of others.
    """

    center: Any
    spread: float


@dataclass(frozen=True)
class Dimension:
    """One parameter: the config key that it sets, its distribution, for choices the values themselves, what is believed.

    `points`: how many values a grid tries, from end to end and even on its scale; 0: it is not said. `length_key`: the key
    that has the length of a choice that is a list, as `model.depth` has that of the widths.
    """

    key: str
    distribution: BaseDistribution
    choices: Sequence[Any] = ()
    prior: Prior | None = None
    points: int = 0
    length_key: str = ""

    def set(self, config: Mapping[str, Any], value: Any) -> dict[str, Any]:
        """Return `config` with `value` at this dimension's key."""
        if self.length_key and isinstance(value, list):
            config = with_value(config, self.length_key, len(value))
        return with_value(config, self.key, value)

    def value(self, suggested: Any) -> Any:
        """Return what the config takes for the value `suggested` by Optuna, to which a list is no choice."""
        if not self.choices:
            return suggested
        return next(c for c in self.choices if label(c) == suggested)

    @property
    def ends(self) -> list[Any]:
        """The lowest and the highest value, or every choice."""
        d = self.distribution
        return [d.low, d.high] if isinstance(d, IntDistribution | FloatDistribution) else list(self.choices)

    def describe(self) -> list[Any]:
        """The key, the distribution, what is believed of it, and a grid's points."""
        prior = [] if self.prior is None else [[self.prior.center, self.prior.spread]]
        return [first_name(self.key), _text(self.distribution), *prior, *([self.points] if self.points else [])]


@dataclass(frozen=True)
class Leaf:
    """A config that lacks only the values of its dimensions, by parameter name."""

    config: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]

    @property
    def trial(self) -> TrialConfig:
        """The config, in which each dimension has its default."""
        return TrialConfig.from_json(self.config)

    def ends(self) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Yield the config with one dimension at one of its ends, as (key, value, config)."""
        for dimension in self.dimensions.values():
            for value in dimension.ends:
                yield dimension.key, value, dimension.set(self.config, value)

    def describe(self) -> list[Any]:
        """The dimensions, and the config apart from their keys."""
        config = dict(self.config)
        for dimension in self.dimensions.values():
            config = with_value(config, dimension.key, None)
        return [with_first_names(config), {first_name(n): d.describe() for n, d in self.dimensions.items()}]


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
        """Ask `suggest(name, distribution)` for each parameter of a point, in an order that never changes."""
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
        distributions: dict[str, BaseDistribution] = {}

        def look_up(name: str, distribution: BaseDistribution) -> Any:
            distributions[name] = distribution
            return params[name]

        self.walk(look_up)
        return distributions

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Tell whether a point is one of this space, no more and no less."""
        try:
            distributions = self.distributions(params)
        except (KeyError, ValueError, TypeError):
            return False
        return distributions.keys() == params.keys() and all(contains(d, params[n]) for n, d in distributions.items())

    def leaf(self, params: Mapping[str, Any]) -> Leaf:
        """Follow the choices of a point to their leaf."""
        node = self.root
        while isinstance(node, Choice):
            node = node.options[params[node.name]]
        return node

    def config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The whole config of a point."""
        leaf = self.leaf(params)
        config = dict(leaf.config)
        for name, dimension in leaf.dimensions.items():
            config = dimension.set(config, dimension.value(params[name]))
        return config

    def trial(self, params: Mapping[str, Any]) -> TrialConfig:
        """The whole config of a point, for those who train it."""
        return TrialConfig.from_json(self.config(params))

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
        """Tell whether some dimension sets a key."""
        return any(d.key == key for _, leaf in self.leaves() for d in leaf.dimensions.values())

    def most_epochs(self) -> int:
        """The epochs of the longest trial."""
        epochs: list[int] = []
        for _, leaf in self.leaves():
            epochs += [end for key, end, _ in leaf.ends() if key == "epochs"] or [leaf.config["epochs"]]
        return max(epochs)

    def only(self, chosen: Mapping[str, str]) -> "Space":
        """The part of the space to which these choices lead."""

        def narrowed(node: Choice | Leaf) -> Choice | Leaf:
            if isinstance(node, Leaf):
                return node
            return replace(node, options={chosen[node.name]: narrowed(node.options[chosen[node.name]])})

        return Space(narrowed(self.root))

    def changed(self, change: Callable[[Leaf], Leaf]) -> "Space":
        """Replace every leaf by `change(leaf)`."""

        def changed(node: Choice | Leaf) -> Choice | Leaf:
            if isinstance(node, Leaf):
                return change(node)
            return replace(node, options={option: changed(child) for option, child in node.options.items()})

        return Space(changed(self.root))

    def distinct(self) -> "Space":
        """Put the branch before a parameter's name wherever another branch means something else by the name."""
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
    """Return `config` with one dotted key set to `value`; the rest is shared."""
    first, _, rest = key.partition(".")
    return {**config, first: with_value(config[first], rest, value) if rest else value}


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Tell whether a value of a point is one of a distribution, whatever type it has."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError, OverflowError):
        return False


def label(choice: Any) -> bool | int | float | str | None:
    """Return a choice as Optuna takes it: a list or a mapping as JSON."""
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)


def _text(distribution: BaseDistribution) -> str:
    from optuna.distributions import distribution_to_json

    return distribution_to_json(distribution)
