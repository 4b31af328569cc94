"""Components: the classes and functions that a config names, each made with the other keys of its section."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from src.config.compose import options_of
from src.system.errors import UserError, known

ROOMS = {  # where the components of a group are found by name
    "model": "src.models.architectures.{name}",
    "optimizer": "src.optim.optimizers.{name}",
    "schedule": "src.optim.schedules.{name}",
    "search": "src.search.strategies.{name}",
    "members": "src.ensembles.members.{name}",
    "combiner": "src.ensembles.combiners.{name}",
}
OF_EVERY = {  # keys that every component of a group has beside its own: the sweep and the engine read them
    "search": ("prior", "terminator"),
    "optimizer": ("scaling", "base_batch", "warmup_epochs"),
    "combiner": ("temperature", "held"),
}


def make(group: str, section: Mapping[str, Any], trusted: Sequence[str], *context: Any, **more: Any) -> Any:
    """Call the component of `group` that `section` names, with its other keys as arguments."""
    return component(group, section, trusted)(*context, **more, **arguments(group, section))


def arguments(group: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a section that its component takes."""
    others = ("name", "_target_", *OF_EVERY.get(group, ()))
    return {key: value for key, value in section.items() if key not in others}


def component(group: str, section: Mapping[str, Any], trusted: Sequence[str] = ()) -> Callable[..., Any]:
    """The class or function that a section names: by `name` in its room, or any by `_target_` from a trusted package.

    In its room it bears the name without regard to case and underscores (`gaussian_process`: GaussianProcess).

    Raises:
        UserError: there is none.
    """
    if "_target_" in section:
        return trusted_target(f"{group}._target_", section["_target_"], trusted)
    path, wanted = ROOMS[group].format(name=section["name"]), section["name"].replace("_", "").lower()
    there: Mapping[str, Callable[..., Any]] = vars(importlib.import_module(path)) if find_spec(path) else {}
    for name in sorted(there, key=lambda name: name != section["name"]):  # itself before another that only looks so
        found = there[name]
        if name.replace("_", "").lower() == wanted and callable(found) and _inside(f"{found.__module__}.", ["src"]):
            return found
    known(f"{group}.name", section["name"], options_of(group))
    raise UserError(f"{group}.name: {path} has no {section['name']}; write one there, or name its class in _target_")


def trusted_target(key: str, path: Any, trusted: Sequence[str]) -> Callable[..., Any]:
    """Import a dotted path.

    Raises:
        UserError: it is outside `src.` and the trusted packages, or is not there.
    """
    packages = ["src", *trusted]
    outside = f"is outside the trusted packages ({', '.join(packages)}); list its own in trusted"
    if not _inside(str(path), packages):
        raise UserError(f"{key}: {path} {outside}")
    module, _, name = str(path).rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{key}: {path} cannot be imported ({error})") from error
    if not callable(found):
        raise UserError(f"{key}: {path} is neither a class nor a function")
    if not _inside(f"{found.__module__}.", packages):  # only imported there: `src.files.Path`
        raise UserError(f"{key}: {path} comes from {found.__module__}, which {outside}")
    return found


def _inside(path: str, packages: Sequence[str]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)
