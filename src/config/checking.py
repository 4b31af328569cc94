"""Checks of a config before anything runs: known keys, right types, components that are there."""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Unpack, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from src.config.components import GROUPS, OF_EVERY, arguments, component, trusted_module
from src.config.schema import SHARED, Root
from src.config.trial_import import refuse_fatal_import
from src.config.unknown_key import unknown_key
from src.system.errors import UserError, shortened, suggestion

# Parameters of a model that the engine answers, not a config: those of `src/models/data_spec.py`.
FROM_DATA = {"self", "data_spec", "input_shape", "n_outputs", "categories", "edges", "patches"}

# --- checking ----------------------------------------------------------------------------------------------------------


COMPONENTS = tuple(group for group in GROUPS if group != "data")  # the stage `prepare` checks its reader itself


def check(config: Mapping[str, Any], components: bool = True, groups: Iterable[str] = COMPONENTS) -> None:
    """Refuse a config with an unknown key, a wrong type or, in `groups`, a component that is not there.

    Args:
        config: composed.
        components: whether to look components up, which imports them.
        groups: whose sections are checked.

    Raises:
        UserError: it names the key that is wrong, and what would be right.
    """
    validate(Root, config, "")
    for group in GROUPS:
        name = config[group].get("name")
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(f"{group}.name: should be letters, digits, dots and dashes (it names files), not {name!r}")
    if components:
        check_components({group: config[group] for group in groups})


def check_components(sections: Mapping[str, Any]) -> None:
    """Refuse sections of a config, by their groups, whose component is not there or does not take their keys.

    Raises:
        UserError: it names the key that is wrong, and what would be right.
    """
    for group, section in sections.items():
        if group in OF_EVERY:
            validate(SHARED[group], {key: section[key] for key in OF_EVERY[group] if key in section}, f"{group}.")
        if "_target_" in section:
            refuse_fatal_import(f"{group}._target_", trusted_module(group, str(section["_target_"])))
        schema = _schema(component(group, section))
        validate(schema, arguments(group, section), f"{group}.")


def validate(schema: type[BaseModel], values: Mapping[str, Any], prefix: str) -> None:
    """Check `values` against a schema, as JSON: a list may stand for a tuple, but no text for a number.

    Args:
        schema: of the section.
        values: of the section.
        prefix: of its keys in a sentence, such as `model.`.

    Raises:
        UserError: the first key that is wrong, and what would be right.
    """
    try:
        schema.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as invalid:
        raise _complaint(schema, values, prefix, invalid) from None


def _complaint(schema: type[BaseModel], values: Mapping[str, Any], prefix: str, invalid: ValidationError) -> UserError:
    errors = invalid.errors(include_url=False)
    paths = [_path(values, error) for error in errors]
    path = max((p for p in paths if p[0] == paths[0][0]), key=len)  # of the ways to be right, the nearest to it
    errors = [error for error, p in zip(errors, paths, strict=True) if p == path]
    key, value = prefix + ".".join(map(str, path)), errors[0]["input"]
    if errors[0]["type"] == "extra_forbidden":
        names = [prefix + ".".join(map(str, (*path[:-1], name))) for name in _fields(schema, path[:-1])]
        return unknown_key(key, names)
    if errors[0]["type"] == "missing":
        return UserError(f"{key}: a value is needed")
    if errors[0]["type"] == "value_error":
        return UserError(f"{key}: {errors[0]['ctx']['error']}")
    right = " or ".join(re.sub(r"^\w+ should |, .*got a number.*|, unable to parse.*", "", e["msg"]) for e in errors)
    hint = suggestion(str(value), re.findall("'(.*?)'", right))
    if errors[0]["type"] == "string_type" and isinstance(value, int | float):
        return UserError(f"{key}: should be a text, not the number {shortened(value)}; type '{key}=\"{value}\"'")
    return UserError(f"{key}: should {right}, not {shortened(value)}{hint}")


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
        schema = next((kind for kind in get_args(schema) if hasattr(kind, "model_fields")), schema)  # a section | None
    return list(getattr(schema, "model_fields", {}))


@lru_cache
def _schema(target: Callable[..., Any]) -> type[BaseModel]:
    """Make the schema of a component's section: of a class its arguments, of a function those that are keyword-only."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    free = False
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints.get(name)) is Unpack:  # keys that several components share
            (shared,) = get_args(hints[name])
            fields |= {key: (kind, None) for key, kind in get_type_hints(shared, include_extras=True).items()}
            continue
        free = free or parameter.kind is inspect.Parameter.VAR_KEYWORD
        if name in FROM_DATA or parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        if inspect.isclass(target) or parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    config = ConfigDict(extra="allow" if free else "forbid", protected_namespaces=(), arbitrary_types_allowed=True)
    return create_model(target.__name__, __config__=config, **fields)
