"""A guard of Hydra: no YAML file that is composed makes Hydra run code, write log files or change the environment.

Hydra itself instantiates what `hydra.callbacks`, the loggings, the launcher and the sweeper name, and it does so before a
verb's own checks. So the guard stands where Hydra composes. What a person types on the command line is theirs to choose.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from hydra._internal import hydra as internal
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc
from yaml import YAMLError

from src.config.compose import CONF
from src.system.errors import UserError, first_line, masked

PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # installed packages, by which Hydra itself finds plugins
STREAMS = (None, "logging.StreamHandler", "logging.NullHandler")
FOLDERS = ("run.dir", "sweep.dir", "sweep.subdir", "output_subdir")  # in which Hydra writes its files
WITHIN = re.compile(r"(?![/~])(?!.*\.\.)([\w.,=/-]|\$\{(now:[^{}/]*|hydra\.job\.(num|override_dirname))\})+")
PLACES = ("outputs", "study.root", "tracking.uri", "storage", "store.url")  # to which a verb writes
ENVIRONMENT = re.compile("LOCKSTEP_.*|MLFLOW_(TRACKING_URI|EXPERIMENT_NAME)")  # variables that a file may read
EMPTY = ("callbacks", "job.env_set")  # keys of Hydra that no file may fill


class DataOnlyLoader(ConfigLoaderImpl):
    """Hydra's loader of configs, which refuses one that would run code."""

    def load_configuration(self, *arguments: Any, **more: Any) -> DictConfig:
        """Compose the config as Hydra does, from `arguments` and `more` of its own.

        Raises:
            UserError: a file of it is no YAML or no config, or names code for Hydra to run.
        """
        try:
            config = super().load_configuration(*arguments, **more)
        except (UserError, HydraException, OmegaConfBaseException):
            raise
        except YAMLError as error:
            raise UserError(_no_yaml(error)) from error
        except Exception as error:  # whatever Hydra stumbles over is in a file: no code of ours runs while it composes
            raise UserError(
                f"a YAML file of conf/ is no config ({first_line(error)}); put back what it said"
            ) from error
        refuse_code(config.hydra)
        refuse_places(config)
        return config


def _no_yaml(error: YAMLError) -> str:
    """Say in which file and line a text is no YAML."""
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}, line {mark.line + 1}" if mark else "a file of conf/"
    return f"{place} is no YAML: {getattr(error, 'problem', None) or first_line(error)}"


def install() -> None:
    """Have Hydra compose with the guard in this process."""
    internal.ConfigLoaderImpl = DataOnlyLoader  # type: ignore[attr-defined]
    OmegaConf.register_new_resolver("oc.env", _variable, replace=True)


def _variable(name: str, *default: str | None) -> str | None:
    """Read a variable of the environment, which may be a secret: one of ours, or one that the command line names.

    Raises:
        UserError: it is another.
    """
    if not ENVIRONMENT.fullmatch(name) and not any(name in word for word in sys.argv[1:]):
        raise UserError(f"a YAML file asks for {name} of the environment; type what it is for on the command line")
    return oc.env(name, *default)


def refuse_places(config: DictConfig) -> None:
    """Refuse a composed `config` in which a file other than conf/config.yaml says where to write.

    Raises:
        UserError: it names the key.
    """
    main = OmegaConf.load(CONF / "config.yaml")
    typed = [word.lstrip("+").partition("=")[0] for word in config.hydra.overrides.task]
    for key in PLACES:
        value = _unresolved(config, key)
        if value != _unresolved(main, key) and not any(key == word or key.startswith(f"{word}.") for word in typed):
            raise UserError(
                f"{key}: a YAML file would write to {masked(str(value))}; a YAML file is data, so take it out, "
                "or type it on the command line"
            )


def _unresolved(config: Any, key: str) -> Any:
    """Return the value at a dotted key as a file has it, interpolations and all; None where there is none."""
    node = OmegaConf.to_container(config, resolve=False)
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def refuse_code(node: DictConfig) -> None:
    """Refuse what `node`, Hydra's own part of a config, would run, write or set, unless the command line chose it.

    Raises:
        UserError: it names the key.
    """
    typed = [word.lstrip("+").partition("=")[0].replace("/", ".") for word in node.overrides.hydra]
    for key, complaint in _code(OmegaConf.to_container(node, resolve=False)):
        name = f"hydra.{key}"
        if not any(name == word or name.startswith(f"{word}.") for word in typed):
            raise UserError(f"{name}: {complaint}; a YAML file is data, so take it out, or type it on the command line")


def _code(node: Any) -> Iterator[tuple[str, str]]:
    """List the keys of Hydra's part by which something would run, each with what it would do."""
    for key in EMPTY:
        section, _, last = key.rpartition(".")
        if (node[section] if section else node).get(last):
            yield key, "would run code or set the environment"
    for key in FOLDERS:
        section, _, last = key.rpartition(".")
        folder = (node[section] if section else node).get(last)
        if folder is not None and not WITHIN.fullmatch(folder):
            yield key, f"would write into {folder}, which may be outside of the project"
    for key in ("launcher", "sweeper"):
        if not str(node[key].get("_target_")).startswith(PLUGINS):
            yield key, f"names {node[key].get('_target_')}, which is no plugin of Hydra"
    for key in ("job_logging", "hydra_logging"):
        for path, value in _leaves(node.get(key) or {}):
            last = path.rpartition(".")[2]
            if last in ("()", "_target_", "filename") or (last == "class" and value not in STREAMS):
                yield key, f"names {value}, so it would run code or write a file"


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield f"{path}{key}", value
        yield from _leaves(value, f"{path}{key}.")
