"""What `conf/` and a command line make: checks and resolves what a stage runs with.

Defaults stand in `conf/` alone. What a component's constructor takes is the schema of its section; the sections that
are no component have theirs in `src/schema.py`. Everything is checked before anything runs.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, get_type_hints

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from src.components import OF_EVERY, ROOMS, arguments, component, make
from src.compose import composed, elsewhere, fixed_keys, keys, listed, options_of, parse, register_resolvers, sentence
from src.errors import UserError, known, nearest
from src.schema import SHARED, Root
from src.space import Choice, Leaf, Space, dimensions, with_value

FROM_DATA = {
    "self",
    "input_shape",
    "n_outputs",
    "categories",
    "bins",
}  # given to a model by the engine, not by a config
GROUPS_OF_A_TRIAL = ("model", "optimizer", "schedule", "training")
OF_A_TRIAL = (
    *GROUPS_OF_A_TRIAL,
    *("regularization", "augment", "averaging", "early_stopping"),
    *("batch_size", "batch_growth", "accumulate", "epochs"),
)


@dataclass(frozen=True)
class Config:
    """A checked config: `root` as plain values, the space of trial configs, and the sections of groups that list several."""

    root: dict[str, Any]
    space: Space
    several: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.root[key]

    @property
    def trial(self) -> dict[str, Any]:
        """The config of a trial that takes every default."""
        return {key: self.root[key] for key in OF_A_TRIAL}

    def make(self, group: str, section: Mapping[str, Any], *context: Any, **more: Any) -> Any:
        """Call the component that `section` names, with its other keys as arguments."""
        return make(group, section, self["trusted"], *context, **more)


# --- loading -----------------------------------------------------------------------------------------------------------


def load(overrides: Sequence[str], components: bool = True, several: Sequence[str] = ()) -> Config:
    """Compose and check the config for the overrides of a command line; `components`: theirs too, which imports them.

    A plain value fixes its key, which leaves the space. `several` are groups of which the command line or params.yaml may
    list more than one option: their sections stand in `Config.several`, the first in the root.

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
    met: set[str] = set()
    compose = partial(composed, values=values, met=met)
    lists = {group: listed(group, groups) for group in several}
    groups = [word for word in groups if word.lstrip("+").partition("=")[0] not in lists]
    firsts = {group: names[0] for group, names in lists.items() if names}
    sections: dict[str, list[dict[str, Any]]] = {}
    for group, names in lists.items():
        chosen = [firsts | {group: name} for name in names] or [firsts]
        configs = [compose([*groups, *(f"{g}={o}" for g, o in each.items())]) for each in chosen]
        for config in configs:
            check(config, components, [group])
        sections[group] = [config[group] for config in configs]
    groups = [*groups, *(f"{group}={name}" for group, name in firsts.items())]
    fixed = {group.lstrip("+").partition("=")[0] for group in groups} | fixed_keys(values)
    base = compose(groups)
    base["choose"] = {g: options for g, options in (base["choose"] or {}).items() if g not in fixed}
    check(base, components)
    base = _with_listed_depth(base, fixed)
    _check_device(base["device"])

    def expand(config: dict[str, Any], chosen: dict[str, str]) -> Choice | Leaf:
        pending = [g for g in config["choose"] or () if g not in chosen and g not in fixed]
        if not pending:
            return _leaf(config, chosen, fixed, components)
        group = pending[0]
        options = _options(group, config["choose"][group])
        name = group if group in base["choose"] else "/".join([*list(chosen.values())[-1:], group])
        return Choice(name, group, {o: expand(option(group, o, chosen), {**chosen, group: o}) for o in options})

    def option(group: str, name: str, chosen: Mapping[str, str]) -> dict[str, Any]:
        try:
            words = [*groups, *(f"{g}={o}" for g, o in {**chosen, group: name}.items())]
            return _with_listed_depth(compose(words), fixed)
        except MissingConfigException as error:
            raise UserError(f"choose.{sentence(error)}") from error

    space = Space(expand(base, {}))
    if missing := [o.key_or_group for o in values if o.key_or_group not in met]:
        raise UserError(f"{missing[0]}: no such key{elsewhere(missing[0]) or nearest(missing[0], keys(base))}")
    return Config(base, space.distinct(), sections)


def _with_listed_depth(config: dict[str, Any], fixed: set[str]) -> dict[str, Any]:
    """Where `model.width` lists the layers, the list is the depth too, so that it is not searched, unless it is given."""
    model, space = config["model"], config["space"]
    if not isinstance(model.get("width"), list) or "depth" not in model or "model.depth" in fixed:
        return config
    space = {**space, "model": {**(space.get("model") or {}), "depth": None}}
    return {**config, "model": {**model, "depth": len(model["width"])}, "space": space}


def _options(group: str, options: Any) -> list[str]:
    """What `choose` lists for a group, if it can be chosen from."""
    known("choose", group, GROUPS_OF_A_TRIAL)
    if not isinstance(options, list) or not options:
        raise UserError(f"choose.{group}: expected a list of some of {', '.join(options_of(group))}, not {options!r}")
    if repeated := [option for option in options if options.count(option) > 1]:
        raise UserError(f"choose.{group}: {repeated[0]!r} stands twice; name each option once")
    return options


def _leaf(config: dict[str, Any], chosen: Mapping[str, str], fixed: set[str], components: bool) -> Leaf:
    """The trial's config and its dimensions, whose every end has been checked."""
    check(config, components)
    trial = {key: config[key] for key in OF_A_TRIAL}

    def refuse(key: str, value: Any) -> None:
        section = key.split(".")[0]
        check(with_value(config, key, value), components, [section] if section in ROOMS else [])

    def prefix(key: str) -> str:
        section = key.split(".")[0]
        return f"{chosen[section]}/" if section in chosen else ""

    found = dimensions(config["space"], trial, prefix, refuse)
    return Leaf(trial, {n: d for n, d in found.items() if d.key not in fixed})


def _check_device(name: str) -> None:
    if name == "cpu":
        return
    import torch

    here, found = ["cpu"], torch.accelerator.current_accelerator(check_available=True)
    if found:
        here += [found.type, *(f"{found.type}:{index}" for index in range(torch.accelerator.device_count()))]
    if name not in here:
        raise UserError(f"device: {name!r} is not there; this machine has {', '.join(here)}")


# --- checking ----------------------------------------------------------------------------------------------------------


def check(config: Mapping[str, Any], components: bool = True, groups: Iterable[str] = ROOMS) -> None:
    """Refuse a config with an unknown key, a wrong type or, in `groups`, a component that is not there."""
    validate(Root, config, "")
    for group in (*ROOMS, "data"):
        name = config[group].get("name")
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(f"{group}.name: should be letters, digits, dots and dashes (it names files), not {name!r}")
    for group in groups if components else ():
        section = config[group]
        if group in OF_EVERY:
            validate(SHARED[group], {key: section[key] for key in OF_EVERY[group] if key in section}, f"{group}.")
        schema = _schema(component(group, section, config["trusted"]))
        validate(schema, arguments(group, section), f"{group}.")


def validate(schema: type[BaseModel], values: Mapping[str, Any], prefix: str) -> None:
    """Check values against a schema, as JSON: a list may stand for a tuple, but no text for a number.

    Raises:
        UserError: the first key that is wrong, and what would be right.
    """
    try:
        schema.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as invalid:
        raise UserError(_complaint(schema, values, prefix, invalid)) from None


def _complaint(schema: type[BaseModel], values: Mapping[str, Any], prefix: str, invalid: ValidationError) -> str:
    errors = invalid.errors(include_url=False)
    paths = [_path(values, error) for error in errors]
    path = max((p for p in paths if p[0] == paths[0][0]), key=len)  # of the ways to be right, the nearest to it
    errors = [error for error, p in zip(errors, paths, strict=True) if p == path]
    key, value = prefix + ".".join(map(str, path)), errors[0]["input"]
    if errors[0]["type"] == "extra_forbidden":
        names = [prefix + ".".join(map(str, (*path[:-1], name))) for name in _fields(schema, path[:-1])]
        return f"{key}: no such key{nearest(key, names)}"
    if errors[0]["type"] == "missing":
        return f"{key}: a value is needed"
    if errors[0]["type"] == "value_error":
        return f"{key}: {errors[0]['ctx']['error']}"
    right = " or ".join(re.sub(r"^\w+ should |, .*got a number.*|, unable to parse.*", "", e["msg"]) for e in errors)
    hint = nearest(str(value), re.findall("'(.*?)'", right))
    return f"{key}: should {right}, not {value!r}{hint}"


def _path(values: Any, error: Any) -> tuple[str | int, ...]:
    """The keys of an error, without the words in between that name the types tried."""
    if error["type"] == "missing":
        return tuple(error["loc"])
    path: list[str | int] = []
    for part in error["loc"]:
        if part in values if isinstance(values, Mapping) else isinstance(values, list) and isinstance(part, int):
            path, values = [*path, part], values[part]
    return tuple(path)


def _fields(schema: Any, path: Sequence[Any]) -> list[str]:
    for part in path:
        schema = schema.model_fields[part].annotation
    return list(getattr(schema, "model_fields", {}))


@lru_cache
def _schema(target: Callable[..., Any]) -> type[BaseModel]:
    """What a component takes from the config: a class its arguments, a function those that are keyword-only."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    free = False
    for name, parameter in inspect.signature(function).parameters.items():
        free = free or parameter.kind is inspect.Parameter.VAR_KEYWORD
        if name in FROM_DATA or parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        if inspect.isclass(target) or parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    config = ConfigDict(extra="allow" if free else "forbid", protected_namespaces=(), arbitrary_types_allowed=True)
    return create_model(target.__name__, __config__=config, **fields)
