"""The config of a stage, made of `conf/` and a command line, checked and resolved.

Defaults stand in `conf/` alone. What a component's constructor takes is the schema of its section; the sections that
are no component have theirs in `src/config/schema.py`. Everything is checked before anything runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.checking import COMPONENTS, check
from src.config.components import make, trust
from src.config.compose import (
    chosen_options,
    compose_config,
    fixed_keys,
    keys,
    options_of,
    options_that_have,
    params,
    parse,
    register_resolvers,
    sentence,
)
from src.config.derived import derived_groups, derived_model
from src.config.dimensions import dimensions
from src.config.space import Choice, Leaf, Space, with_value
from src.config.unknown_key import unknown_key
from src.system.errors import UserError, require_one_of
from src.system.trial_config import TrialConfig

GROUPS_OF_A_TRIAL = ("model", "optimizer", "schedule", "training")
OF_MACHINES = ("executor=", "hydra.")  # begin the words of options that say with which machines a person works
OF_A_TRIAL = (*GROUPS_OF_A_TRIAL, "batch_size", "epochs")


@dataclass(frozen=True)
class Config:
    """A checked config: `root` as plain values, the space of trial configs, and the sections of groups that list several."""

    root: dict[str, Any]
    space: Space
    several: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()

    def __getitem__(self, key: str) -> Any:
        return self.root[key]

    @property
    def trial(self) -> TrialConfig:
        """Select the config of a trial that takes every default."""
        return TrialConfig.from_json({key: self.root[key] for key in OF_A_TRIAL})

    def typed(self, section: str) -> set[str]:
        """List the keys right below `section` that the command line set."""
        return {key.split(".")[1] for key in self.fixed if key.startswith(f"{section}.")}

    def make(self, group: str, section: Mapping[str, Any], *context: Any, **more: Any) -> Any:
        """Call the component that `section` names, with its other keys as arguments."""
        return make(group, section, *context, **more)


# --- loading -----------------------------------------------------------------------------------------------------------


def load(overrides: Sequence[str], components: bool = True, several: Sequence[str] = ()) -> Config:
    """Compose and check the config of a command line. A plain value fixes its key, which leaves the space.

    Args:
        overrides: the words of the command line.
        components: whether their sections are checked too, which imports them.
        several: the groups of which the command line or params.yaml may list more than one option: their sections stand in
            `Config.several`, the first in the root.

    Raises:
        UserError: naming the key that is wrong and what would be right.
    """
    register_resolvers()
    try:
        return _load(overrides, components, several)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(sentence(error)) from error


def _load(overrides: Sequence[str], components: bool, several: Sequence[str]) -> Config:
    groups, values = parse(overrides)
    trust(packages := _trusted_packages(values))
    met: set[str] = set()
    compose = partial(compose_config, values=values, met=met)
    groups, sections = _listed(groups, several, compose, components)
    fixed = {group.lstrip("+").partition("=")[0] for group in groups} | fixed_keys(values)
    base = compose(groups)
    if base.get("trusted", packages) != packages:
        raise UserError(
            "trusted: only the command line and params.yaml may name trusted packages; take it out of conf/"
        )
    check(base, components)
    if base["executor"]["name"] != "local":
        named = compose_config([word for word in groups if word.lstrip("+").startswith(OF_MACHINES)], values, set())
        if base["executor"] != named["executor"]:
            raise UserError(
                "executor: only the command line and params.yaml may choose one; take it out of the YAML file"
            )
    base["choose"] = {g: options for g, options in base["choose"].items() if g not in fixed}
    base = _with_listed_depth(base, fixed)
    _check_device(base["device"])
    tree = _Tree(compose, groups, fixed, components, frozenset(base["choose"]))
    derived = derived_model(base["model"], base["training"].get("darts"))
    space = Space(tree.with_derived(base, derived) if derived else tree.expand(base, {}))
    if missing := [override.key_or_group for override in values if override.key_or_group not in met]:
        raise unknown_key(missing[0], keys(base), options_that_have(missing[0]))
    return Config(base, space.distinct(), sections, frozenset(fixed))


Compose = Callable[[list[str]], dict[str, Any]]


def _listed(
    groups: list[str], several: Sequence[str], compose: Compose, components: bool
) -> tuple[list[str], dict[str, list[dict[str, Any]]]]:
    """Check the options of the groups that may list several: return the groups with the first of each, and all sections."""
    lists = {group: chosen_options(group, groups) for group in several}
    groups = [word for word in groups if word.lstrip("+").partition("=")[0] not in lists]
    firsts = {group: names[0] for group, names in lists.items() if names}
    sections: dict[str, list[dict[str, Any]]] = {}
    for group, names in lists.items():
        chosen = [firsts | {group: name} for name in names] or [firsts]
        configs = [compose([*groups, *(f"{g}={o}" for g, o in each.items())]) for each in chosen]
        for config in configs:
            check(config, components, [group])
        sections[group] = [config[group] for config in configs]
    return [*groups, *(f"{group}={name}" for group, name in firsts.items())], sections


@dataclass(frozen=True)
class _Tree:
    """The tree of choices between options of groups, whose every leaf is composed and checked."""

    compose: Compose
    groups: list[str]
    fixed: set[str]
    components: bool
    top: frozenset[str]  # the choices of the config itself, not of an option of one of them
    model: str = ""  # of this branch, where supernets have one and the nets derived from them another

    def with_derived(self, config: dict[str, Any], derived: str) -> Choice:
        """Make a branch for the supernets of a config and one for the nets derived from them, of the model `derived`."""
        name, words = config["model"]["name"], derived_groups(self.groups, derived)
        supernets, nets = replace(self, model=name), replace(self, groups=words, model=derived)
        branches = {name: supernets.expand(config, {}), derived: nets.expand(nets._composed({}), {})}
        return Choice("model", "model", branches)

    def expand(self, config: dict[str, Any], chosen: dict[str, str]) -> Choice | Leaf:
        """Make the choices that are left in a config, below those `chosen` already, by group."""
        pending = [g for g in config["choose"] or () if g not in chosen and g not in self.fixed]
        if not pending:
            if config["training"].get("darts") and not self.model:
                name = config["model"]["name"]
                raise UserError(
                    f"choose.model: {name} is searched by itself, with the nets derived from it: model={name}"
                )
            return _leaf(config, chosen | ({"model": self.model} if self.model else {}), self.fixed, self.components)
        group = pending[0]
        name = group if group in self.top else "/".join([*list(chosen.values())[-1:], group])
        each = {o: {**chosen, group: o} for o in _options(group, config["choose"][group])}
        return Choice(name, group, {o: self.expand(self._composed(now), now) for o, now in each.items()})

    def _composed(self, chosen: Mapping[str, str]) -> dict[str, Any]:
        try:
            words = [*self.groups, *(f"{g}={o}" for g, o in chosen.items())]
            return _with_listed_depth(self.compose(words), self.fixed)
        except MissingConfigException as error:
            raise UserError(f"choose.{sentence(error)}") from error


def _trusted_packages(values: Sequence[Override]) -> list[str]:
    """Read which packages the person trusts, from the command line or else from params.yaml.

    Raises:
        UserError: it is no list of names.
    """
    words = [override.value() for override in values if override.key_or_group == "trusted"]
    packages = words[-1] if words else params().get("trusted", [])
    packages = OmegaConf.to_object(packages) if OmegaConf.is_config(packages) else packages
    if not isinstance(packages, list) or not all(isinstance(package, str) for package in packages):
        raise UserError(f"trusted: should be a list of packages, such as [mypackage], not {packages!r}")
    return packages


def _with_listed_depth(config: dict[str, Any], fixed: set[str]) -> dict[str, Any]:
    """Take the depth from the lists of layers in `model.width` or in its choices, not from a search, unless it is fixed."""
    model, dimensions = config["model"], config["space"].get("model") or {}
    if "depth" not in model or "model.depth" in fixed:
        return config
    choices = dimensions["width"].get("choices") if isinstance(dimensions.get("width"), dict) else None
    searched = isinstance(choices, list) and any(isinstance(choice, list) for choice in choices)
    if isinstance(model.get("width"), list):
        model = {**model, "depth": len(model["width"])}
    elif not searched:
        return config
    return {**config, "model": model, "space": {**config["space"], "model": {**dimensions, "depth": None}}}


def _options(group: str, options: Any) -> list[str]:
    """Check the options that `choose` lists for a group."""
    require_one_of("choose", group, GROUPS_OF_A_TRIAL)
    if not isinstance(options, list) or not options:
        raise UserError(f"choose.{group}: expected a list of some of {', '.join(options_of(group))}, not {options!r}")
    if repeated := [option for option in options if options.count(option) > 1]:
        raise UserError(f"choose.{group}: {repeated[0]!r} stands twice; name each option once")
    return options


def _leaf(config: dict[str, Any], chosen: Mapping[str, str], fixed: set[str], components: bool) -> Leaf:
    """Make the leaf of a config: the trial's part and its dimensions, whose every end has been checked."""
    check(config, components)
    trial = {key: config[key] for key in OF_A_TRIAL}

    def refuse(key: str, value: Any) -> None:
        section = key.split(".")[0]
        check(with_value(config, key, value), components, [section] if section in COMPONENTS else [])

    def prefix(key: str) -> str:
        section = key.split(".")[0]
        return f"{chosen[section]}/" if section in chosen else ""

    searched = {n: d for n, d in dimensions(config["space"], trial, prefix, refuse).items() if d.key not in fixed}
    if "depth" in trial["model"] and "model.depth" not in fixed:
        searched = {n: replace(d, length_key="model.depth" * (d.key == "model.width")) for n, d in searched.items()}
    return Leaf(trial, searched)


def _check_device(name: str) -> None:
    if name == "cpu":
        return
    import torch

    here, accelerator = ["cpu"], torch.accelerator.current_accelerator(check_available=True)
    if accelerator:
        here += [
            accelerator.type,
            *(f"{accelerator.type}:{index}" for index in range(torch.accelerator.device_count())),
        ]
    if name not in here:
        raise UserError(f"device: {name!r} is not there; this machine has {', '.join(here)}")
