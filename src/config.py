"""The schema of `conf/`: composes, checks and resolves what a stage runs with.

Defaults stand in `conf/` alone. What a component's constructor takes is the schema of its section; the sections that
are no component have their schema here. Everything is checked before anything runs.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from src.errors import UserError
from src.space import Choice, Leaf, Space, dimensions

CONF = Path(__file__).parent.parent / "conf"
GROUPS = ("data", "model", "optimizer", "schedule", "training", "search", "members", "combiner", "experiment")
ROOMS = {  # where the components of a group are found by name
    "model": "src.models.{name}",
    "optimizer": "src.optim",
    "schedule": "src.optim",
    "search": "src.search.{name}",
    "members": "src.members.{name}",
    "combiner": "src.combiners.{name}",
}
FROM_DATA = {
    "self",
    "input_shape",
    "n_outputs",
    "categories",
    "bins",
}  # given to a model by the engine, not by a config
OF_A_TRIAL = ("model", "optimizer", "schedule", "training", "batch_size", "epochs")

OmegaConf.register_new_resolver("params", lambda key: OmegaConf.load("params.yaml")[key], replace=True)

Count = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A section of the config: no other keys."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Training(Section):
    """How a step is taken, beside the optimizer."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class Tracking(Section):
    """Where MLflow stands; the experiment is named after the data set."""

    uri: str


class StudyKeys(Section):
    """Where live studies stand, and what to do with one that is there."""

    root: str
    fresh: bool
    accept_code: bool


class LrRange(Section):
    """The learning-rate range test: an exponential ramp of so many steps, for several seeds at once."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=10)]
    seeds: Count


class Root(Section):
    """The whole config; components and data are checked by their own schemas."""

    data: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    training: Training
    search: dict[str, Any]
    members: dict[str, Any]
    combiner: dict[str, Any]
    models: list[str]
    n_trials: Count
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    seed: Annotated[int, Field(ge=0)]
    workers: Count | Literal["auto"]
    slots: Count | Literal["auto"]
    device: str
    tracking: Tracking
    storage: str | None
    study: StudyKeys
    outputs: str
    lr_range: LrRange
    trusted: list[str]
    choose: dict[str, list[str]]
    space: dict[str, Any]


@dataclass(frozen=True)
class Config:
    """A checked config: `root` as plain values, and the space of trial configs."""

    root: dict[str, Any]
    space: Space

    def __getitem__(self, key: str) -> Any:
        return self.root[key]

    @property
    def trial(self) -> dict[str, Any]:
        """The config of a trial that takes every default."""
        return {key: self.root[key] for key in OF_A_TRIAL}

    def make(self, group: str, section: Mapping[str, Any], *context: Any, **more: Any) -> Any:
        """Call the component that `section` names, with its other keys as arguments."""
        return make(group, section, self["trusted"], *context, **more)


def make(group: str, section: Mapping[str, Any], trusted: Sequence[str], *context: Any, **more: Any) -> Any:
    """Call the component of `group` that `section` names."""
    arguments = {k: v for k, v in section.items() if k not in ("name", "_target_")}
    return component(group, section, trusted)(*context, **more, **arguments)


# --- composing ---------------------------------------------------------------------------------------------------------


def load(overrides: Sequence[str], components: bool = True) -> Config:
    """Compose and check the config for the overrides of a command line; `components`: theirs too, which imports them.

    A plain value fixes its key, which leaves the space.

    Raises:
        UserError: naming the key that is wrong and what would be right.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    groups = [o for o in parsed if o.key_or_group in GROUPS and not o.is_delete()]
    values = [o for o in parsed if o not in groups]
    met: set[str] = set()
    composed = partial(_composed, values=values, met=met)
    base = composed([str(o.input_line) for o in groups])
    fixed = {o.key_or_group for o in parsed if not o.is_delete()}
    choose = {g: options for g, options in base["choose"].items() if g not in fixed}
    for group, options in choose.items():
        known(f"choose.{group}", group, ROOMS)
        for option in options:
            known(f"choose.{group}", option, options_of(group))

    def expand(chosen: dict[str, str], names: dict[str, str]) -> Choice | Leaf:
        config = composed([str(o.input_line) for o in groups] + [f"{g}={o}" for g, o in chosen.items()])
        pending = [g for g in config["choose"] if g not in chosen and g not in fixed]
        if pending:
            group = pending[0]
            name = group if group in choose else "/".join([*list(chosen.values())[-1:], group])
            options = config["choose"][group]
            return Choice(name, group, {o: expand({**chosen, group: o}, {**names, name: o}) for o in options})
        check(config, components)
        trial = {key: config[key] for key in OF_A_TRIAL}

        def prefix(key: str) -> str:
            section = key.split(".")[0]
            return f"{chosen[section]}/" if section in chosen else ""

        found = dimensions(config["space"], trial, prefix)
        return Leaf(trial, {n: d for n, d in found.items() if d.key not in fixed})

    space = Space(expand({}, {}))
    if missing := [o for o in values if o.key_or_group not in met]:
        key = missing[0].key_or_group
        raise UserError(f"{key}: no such key{_nearest(key, _keys(base))}")
    if not choose:
        base["choose"] = {}
    check(base, components)
    return Config(base, _distinct(space))


def _composed(groups: list[str], values: list[Override], met: set[str]) -> dict[str, Any]:
    """The config of these groups with the values set where their keys exist; `met` collects the keys that do."""
    cfg = compose("config", overrides=groups)
    OmegaConf.set_struct(cfg, False)
    for override in values:
        key = override.key_or_group
        exists = _exists(cfg, key)
        if exists or (override.is_add() and not override.is_force_add()):
            met.add(key)
            if override.is_delete():
                _delete(cfg, key)
            else:
                OmegaConf.update(cfg, key, override.value(), merge=True, force_add=True)
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _exists(cfg: DictConfig, key: str) -> bool:
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(node, DictConfig) and last in node


def _delete(cfg: DictConfig, key: str) -> None:
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    del node[last]


def _distinct(space: Space) -> Space:
    """Two branches may share a parameter's name only with one distribution: else the branch goes before the name."""
    seen: dict[str, set[str]] = {}
    for _, leaf in space.leaves():
        for name, dimension in leaf.dimensions.items():
            seen.setdefault(name, set()).add(repr(dimension.distribution))

    def renamed(node: Choice | Leaf, path: str) -> Choice | Leaf:
        if isinstance(node, Choice):
            return Choice(node.name, node.group, {o: renamed(c, f"{path}{o}/") for o, c in node.options.items()})
        return Leaf(node.config, {path * (len(seen[n]) > 1) + n: d for n, d in node.dimensions.items()})

    return Space(renamed(space.root, ""))


# --- checking ----------------------------------------------------------------------------------------------------------


def check(config: Mapping[str, Any], components: bool = True) -> None:
    """Refuse a config with an unknown key, a wrong type or a component that is not there."""
    validate(Root, config, "")
    for group in ROOMS if components else ():
        section = config[group]
        arguments = {k: v for k, v in section.items() if k not in ("name", "_target_")}
        validate(_schema(component(group, section, config["trusted"])), arguments, f"{group}.")


def validate(schema: type[BaseModel], values: Mapping[str, Any], prefix: str) -> None:
    """Check values against a schema.

    Raises:
        UserError: the first key that is wrong, and what would be right.
    """
    try:
        schema.model_validate(values)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
        key = prefix + ".".join(str(part) for part in error["loc"] if part not in ("function-after", "constrained-int"))
        if error["type"] == "extra_forbidden":
            siblings = [*prefix.split(".")[:-1], *map(str, error["loc"][:-1])]
            names = [".".join([*siblings, name]) for name in _fields(schema, error["loc"][:-1])]
            raise UserError(f"{key}: no such key{_nearest(key, names)}") from None
        if error["type"] == "missing":
            raise UserError(f"{key}: a value is needed") from None
        message = error["msg"][0].lower() + error["msg"][1:]
        raise UserError(f"{key}: {message}, not {error['input']!r}") from None


def _fields(schema: Any, path: Sequence[Any]) -> list[str]:
    for part in path:
        schema = schema.model_fields[part].annotation
    return list(getattr(schema, "model_fields", {}))


@lru_cache
def _schema(target: Callable[..., Any]) -> type[BaseModel]:
    """What a component takes from the config: a class its arguments, a function those that are keyword-only."""
    function = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
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


# --- components --------------------------------------------------------------------------------------------------------


def component(group: str, section: Mapping[str, Any], trusted: Sequence[str] = ()) -> Callable[..., Any]:
    """The class or function that a section names: by `name` in its room, or any by `_target_` from a trusted package.

    In its room it bears the name without regard to case and underscores (`gaussian_process`: GaussianProcess).
    """
    if "_target_" in section:
        return trusted_target(f"{group}._target_", section["_target_"], trusted)
    name = section.get("name")
    known(f"{group}.name", name, options_of(group))
    module = importlib.import_module(ROOMS[group].format(name=name))
    wanted = str(name).replace("_", "").lower()
    found: Callable[..., Any] = next(v for k, v in vars(module).items() if k.replace("_", "").lower() == wanted)
    return found


def trusted_target(key: str, path: Any, trusted: Sequence[str]) -> Callable[..., Any]:
    """Import a dotted path.

    Raises:
        UserError: it is outside `src.` and the trusted packages, or is not there.
    """
    packages = ["src", *trusted]
    if not any(str(path).startswith(f"{package}.") for package in packages):
        raise UserError(
            f"{key}: {path} is outside the trusted packages ({', '.join(packages)}); list its own in trusted"
        )
    module, _, name = str(path).rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{key}: {path} cannot be imported ({error})") from error
    return found


def options_of(group: str) -> list[str]:
    """The names that a config group offers."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def known(key: str, name: Any, names: Sequence[str] | Mapping[str, Any]) -> None:
    """Refuse a name that is none of `names`, and say the nearest."""
    if name not in names:
        raise UserError(f"{key}: {name!r} is none of {', '.join(names)}{_nearest(str(name), names)}")


def _nearest(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _keys(tree: Mapping[str, Any], path: str = "") -> list[str]:
    return list(_walk(tree, path))


def _walk(tree: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, node in tree.items():
        yield f"{path}{name}"
        if isinstance(node, Mapping):
            yield from _walk(node, f"{path}{name}.")
