"""Look-up of components: the classes and functions that a config names, and which of them may run at all.

A config, a `best.yaml` or a registered model is data. Only two things that it names become code: a file of the group's own
folder, by name, and what `_target_` names in a package that the person trusts. The person says so on the command line or
in `params.yaml` (`trusted`), or, for a model that is loaded outside of the project, in the environment variable
`LOCKSTEP_TRUSTED`. No file that came with data or with a model can.
"""

import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from src.system.errors import UserError, require_one_of

ENVIRONMENT = "LOCKSTEP_TRUSTED"  # packages, separated by commas


@dataclass(frozen=True)
class Group:
    """A config group whose options are components: the package with one a file, and the key that names the file."""

    folder: str
    key: str = "name"


GROUPS = {
    "data": Group("src.data.readers", key="reader"),
    "model": Group("src.models.architectures"),
    "optimizer": Group("src.optim.optimizers"),
    "schedule": Group("src.optim.schedules"),
    "search": Group("src.search.strategies"),
    "members": Group("src.ensembles.members"),
    "combiner": Group("src.ensembles.combiners"),
    "executor": Group("src.cluster.executors"),
}
OF_EVERY = {  # keys that every component of a group has beside its own: the sweep and the engine read them
    "search": ("rate_prior", "terminator", "proxy"),
    "optimizer": ("batch_scaling", "rate_factors"),
    "combiner": ("temperature", "fit_on", "complexity"),
    "executor": ("patience",),
}
_trusted: list[str] = []


def trust(packages: Iterable[str]) -> None:
    """Trust packages whose classes `_target_` may then name, in this process, and in no others that were trusted before."""
    _trusted[:] = packages


def trusted() -> list[str]:
    """List the packages that the person trusts: those of `trust`, and those of the environment."""
    return [*_trusted, *filter(None, os.environ.get(ENVIRONMENT, "").split(","))]


def make(group: str, section: Mapping[str, Any], *context: Any, **more: Any) -> Any:
    """Call the component of `group` that `section` names, with `context`, `more` and the other keys of the section.

    Raises:
        UserError: there is no such component, or it is not trusted.
    """
    return component(group, section)(*context, **more, **arguments(group, section))


def arguments(group: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Select the keys of a section that its component takes."""
    others = (GROUPS[group].key, "_target_", *OF_EVERY.get(group, ()))
    return {key: value for key, value in section.items() if key not in others}


def component(group: str, section: Mapping[str, Any]) -> Callable[..., Any]:
    """Look up the class or function that a section names: by name in its group's folder, or by `_target_` anywhere.

    In its file it bears the file's name without regard to case and underscores (`batch_ensemble`: BatchEnsemble).

    Raises:
        UserError: there is none, it is outside of the trusted packages, or it is not of the group's kind.
    """
    if "_target_" in section:
        return _target(group, str(section["_target_"]))
    folder, key = GROUPS[group].folder, f"{group}.{GROUPS[group].key}"
    name = str(section.get(GROUPS[group].key))
    names = options(group)
    require_one_of(key, name, names)
    content = vars(importlib.import_module(f"{folder}.{name}"))
    for candidate in sorted(content, key=lambda candidate: candidate != name):  # itself before another that looks so
        value = content[candidate]
        if candidate.replace("_", "").lower() == name.replace("_", "").lower() and _is_in(value, ["src"]):
            if complaint := _complaint(group, value):
                raise UserError(f"{key}: {folder}.{name}.{candidate} {complaint}")
            return value  # type: ignore[no-any-return]
    raise UserError(f"{key}: {folder}.{name} has no {name}; write a class or function of that name there")


def options(group: str) -> list[str]:
    """List the files in a group's folder."""
    return [module.name for module in pkgutil.iter_modules(importlib.import_module(GROUPS[group].folder).__path__)]


def trusted_module(group: str, path: str) -> str:
    """Split off the module of a `_target_` that is in the group's folder or in a trusted package.

    Raises:
        UserError: it is outside of both.
    """
    packages = _packages(group)
    if not _inside(path, packages):
        raise UserError(f"{group}._target_: {path} {_outside(packages)}")
    return path.rpartition(".")[0]


def _packages(group: str) -> list[str]:
    return [GROUPS[group].folder, *trusted()]


def _outside(packages: Iterable[str]) -> str:
    return f"is outside the trusted packages ({', '.join(packages)}); list its own in trusted if you trust it"


def _target(group: str, path: str) -> Callable[..., Any]:
    """Import `path` if it is in the group's folder or in a trusted package."""
    key, packages, module, name = (
        f"{group}._target_",
        _packages(group),
        trusted_module(group, path),
        path.rpartition(".")[2],
    )
    try:
        value = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a person's file does wrong
        raise UserError(f"{key}: {path} cannot be imported ({error})") from error
    if complaint := _complaint(group, value):
        raise UserError(f"{key}: {path} {complaint}")
    if not _is_in(value, packages):  # only imported there
        raise UserError(f"{key}: {path} comes from {value.__module__}, which {_outside(packages)}")
    return value  # type: ignore[no-any-return]


def _complaint(group: str, value: Any) -> str:
    """Say why a value is no component of a group, or nothing where it is one."""
    if not callable(value):
        return "is neither a class nor a function"
    if group == "model":
        from torch import nn

        if not (inspect.isclass(value) and issubclass(value, nn.Module)):
            return "is no model: it must be a class derived from torch.nn.Module"
    return ""


def _is_in(value: Any, packages: Iterable[str]) -> bool:
    """Tell whether a class or function was written in one of these packages."""
    return callable(value) and _inside(f"{getattr(value, '__module__', '')}.", packages)


def _inside(path: str, packages: Iterable[str]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)
