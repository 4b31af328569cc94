"""`conf/` and a command line make a config, as Hydra does it, but a value goes only where its key exists.

So a value for a key that one choice has and another has not applies to the one, and a misspelt key comes to our own check.
Light: `--help` passes here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.config import data_defaults
from src.config import params as params_file
from src.config.quoting import override as typed
from src.config.secrets import refuse_copies
from src.system.errors import UserError, first_line, require_one_of, shortened, suggestion

CONF = Path(__file__).parents[2] / "conf"
NO_OPTION = re.compile(r"(?i)\s*(null|true|false|[-+]?\.?\d[\d._]*(e[-+]?\d+)?)?\s*")  # what Hydra reads as no name
LONGEST_WORD = 10_000  # characters; Hydra's parser takes some seconds for more
DEFAULT = "auto"  # as a value: what stands in conf/
OPTIONAL = "data_model"  # the group of which Hydra passes over what is not there
OPTIONS_OF_BEFORE = {"members=batch_ensemble": "members=tabm members.kind=batch_ensemble"}


def register_resolvers(about: str = "") -> None:
    """Register the resolvers of `conf/`: of `params.yaml`, of defaults that follow the data, of what the verb is `about`."""
    OmegaConf.register_new_resolver("params", lambda key, *default: params().get(key, *default), replace=True)
    OmegaConf.register_new_resolver("about", lambda: about, replace=True)
    OmegaConf.register_new_resolver("for_data", data_defaults.default, replace=True)
    OmegaConf.register_new_resolver("when", data_defaults.when, replace=True)


def params() -> DictConfig:
    """Read `params.yaml`, that of the working directory before the one that is shipped."""
    return OmegaConf.create(params_file.read())


# --- the command line --------------------------------------------------------------------------------------------------


def with_force_add(word: str) -> str:
    """Mark a word of the command line for Hydra where its value may be for a key that only some choices have.

    Raises:
        UserError: it is too long, chooses no option of its group, or a backslash was left at its end.
    """
    key, equals, value = word.partition("=")
    if len(word) > LONGEST_WORD:
        raise UserError(
            f"{shortened(key, 60)[1:-1]}: {len(word):,} characters are more than {LONGEST_WORD:,}: name fewer values"
        )
    if word.rstrip().endswith("\\"):
        raise UserError(f"{key.strip()}: a backslash is left at the end; remove it")
    if equals and is_group(key.lstrip("+~")) and NO_OPTION.fullmatch(value):
        key = key.lstrip("+~")
        raise UserError(f"{key}: a value is needed, one of {', '.join(options_of(key))}")
    if re.fullmatch(r"~space\.[^=]+", word):
        return f"++{word[1:]}=null"
    is_value = equals and re.fullmatch(r"(?!hydra\.)\w[\w-]*(\.[\w/-]+)*", key)
    return f"++{word}" if is_value and (not is_group(key) or value.lstrip().startswith("{")) else word


def is_group(key: str) -> bool:
    """Tell whether a key chooses an option of a config group."""
    return re.fullmatch(r"\w{1,99}", key) is not None and (CONF / key).is_dir()


def options_of(group: str) -> list[str]:
    """List the names that a config group offers, those of `--config-dir` too."""
    if GlobalHydra.instance().is_initialized():
        return list(GlobalHydra.instance().config_loader().get_group_options(group))
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def options_that_have(key: str) -> str:
    """End a sentence about a key that is not there with the options of its config group that have it, if any."""
    group, _, rest = key.partition(".")
    having = []
    for path in sorted((CONF / group).glob("*.yaml")):
        tree = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(path)))
        if key in keys(tree) or ("name" in tree and rest in keys(tree)):  # of the whole config, or of its own section
            having.append(path.stem)
    return f"; {group}={', '.join(having)} {'have' if len(having) > 1 else 'has'} it" if having else ""


def parse(words: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Split a command line into what Hydra composes by (options of groups, its own keys) and what sets or deletes a key.

    Raises:
        UserError: an optional group has no such option.
    """
    groups, values = [], []
    overrides = OverridesParser.create().parse_overrides(list(words))
    ConfigLoaderImpl.validate_sweep_overrides_legal(overrides, RunMode.RUN, from_shell=True)
    for override in overrides:
        chooses = is_group(override.key_or_group) and not override.is_delete()
        if override.is_hydra_override() or (chooses and not isinstance(override.value(), dict)):
            groups.append(str(override.input_line))
            if override.key_or_group == OPTIONAL:
                require_one_of(OPTIONAL, override.value(), options_of(OPTIONAL))
        else:
            values.append(override)
    return groups, values


def chosen_options(group: str, groups: Sequence[str]) -> list[str]:
    """List the options of a group that a stage shall use one after another: of the command line, or else of params.yaml.

    Without any it uses the default.

    Raises:
        UserError: none is named, or one twice.
    """
    words = [word for word in groups if word.lstrip("+").partition("=")[0] == group]
    chosen = OmegaConf.from_dotlist([words[-1].lstrip("+")]) if words else params()
    if group not in chosen:
        return []
    value = OmegaConf.to_object(chosen[group]) if OmegaConf.is_config(chosen[group]) else chosen[group]
    names = value if isinstance(value, list) else [value]
    wrong = [name for name in names if not isinstance(name, str) or names.count(name) > 1]
    if wrong or not names:
        raise UserError(f"{group}: name one or a list of {', '.join(options_of(group))}, each once, not {value!r}")
    return [str(name) for name in names]


def fixed_keys(values: Sequence[Override]) -> set[str]:
    """Collect the keys that are set, those inside of a mapping too."""
    fixed: set[str] = set()
    for override in values:
        if override.is_delete() or asks_for_default(override):
            continue
        key, value = override.key_or_group, override.value()
        fixed |= set(keys(value, f"{key}.")) if isinstance(value, dict) else {key}
    return fixed


def asks_for_default(override: Override) -> bool:
    """Tell whether the value is `auto`, which leaves a key as it stands in `conf/`."""
    return not override.is_delete() and override.value() == DEFAULT


def keys(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield every key of a tree, dotted."""
    for name, node in tree.items():
        yield f"{path}{name}"
        if isinstance(node, Mapping):
            yield from keys(node, f"{path}{name}.")


def sentence(error: Exception) -> str:
    """Turn an error of Hydra or OmegaConf into one sentence that names the key, and says what to type instead."""
    if isinstance(error, MissingConfigException) and is_group(str(error.missing_cfg_file).partition("/")[0]):
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if words := OPTIONS_OF_BEFORE.get(f"{group}={name}"):
            return f"{group}: {name} is an option no more; use {words}"
        names = sorted(error.options or options_of(group))
        return f"{group}: {name!r} is none of {', '.join(names)}{suggestion(name, names)}"
    noise = "Error parsing override '.*'|See https.*|UserError raised while resolving interpolation: "
    text = " ".join(re.sub(noise, "", str(error)).split()).replace("'++", "'")
    if isinstance(error, OverrideParseException):
        return unreadable(error.override.removeprefix("++"))
    if "${data}_${model}" in text:
        return "model, data: name one option of each; -m model=mlp,cnn runs one sweep after the other"
    if resolving := re.search(r"^(.*?) ?full_key: (\S+)", text):
        return f"{resolving[2]}: {resolving[1].rstrip('.')}"
    if missing := re.search(r"Could not (?:delete from config|override)\W+'?([\w.-]+)'?", text):
        return f"{missing[1]}: no such key"
    if several := re.search(r"^(?:Ambiguous value for argument|Sweep parameters) '(.*?)=(.*?)'", text):
        return f"{several[1]}: {several[2]} asks for several sweeps or a search, which needs -m; a list is [1,2]"
    return text or first_line(error)


def unreadable(word: str) -> str:
    """Say how to type a word of the command line that Hydra's grammar does not take, quoted for a shell."""
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"[\w./@+~-]+", key):
        return f"{shortened(word)[1:-1]}: expected key=value, as in n_trials=64"
    if len(word) > 200 or "\n" in word:
        return f"{key}: {shortened(value)} cannot be read; such a text stands in double quotes, on one line"
    if listed := re.fullmatch(r"\[(.*)\]", value.strip()):
        items = [item.strip(" \"'") for item in listed[1].split(",")]
        return f"{key}: {word} cannot be read; type a list of texts with such characters as {typed(key, items)}"
    right = typed(key, value.strip("\"'"))
    return f"{key}: {word} cannot be read; type a text with such characters as {right}, a list as [1,2]"


# --- the config --------------------------------------------------------------------------------------------------------


def compose_config(groups: Sequence[str], values: Sequence[Override], met: set[str]) -> dict[str, Any]:
    """Compose the config of `groups` and set `values` where their keys exist; `met` collects the keys that do."""
    cfg = compose("config", overrides=list(groups), return_hydra_config=True)
    OmegaConf.set_struct(cfg, False)
    _name_by_option(cfg, cfg.pop("hydra").runtime.choices)
    for override in values:
        key = override.key_or_group
        if not _applies(cfg, override):
            continue
        met.add(key)
        if asks_for_default(override):
            continue
        if override.is_delete():
            parent, _, last = key.rpartition(".")
            del (OmegaConf.select(cfg, parent) if parent else cfg)[last]
        else:
            value = override.value()
            if (
                key.startswith("space.")
                and isinstance(value, dict)
                and (value.get("log") or {"low", "high"} <= {*value})
            ):
                value = {"step": None, **value}  # the default's step goes with its own interval on a linear scale alone
            old = OmegaConf.select(cfg, key)
            _replace_question(cfg, key.rpartition(".")[0])
            merge = isinstance(old, DictConfig) and not (key.startswith("space.") and _is_another_kind(old, value))
            OmegaConf.update(cfg, key, value, merge=merge, force_add=True)
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    config = {str(key): value for key, value in container.items()}
    refuse_copies(config, {override.key_or_group for override in values})
    return config


def _name_by_option(cfg: DictConfig, options: Mapping[str, str]) -> None:
    """Name a component of a person's own, of which the YAML may say `_target_` alone, as the option of its group."""
    for group, option in options.items():
        section = cfg.get(group)
        if isinstance(section, DictConfig) and "_target_" in section and "name" not in section:
            section["name"] = option


def _replace_question(cfg: DictConfig, key: str) -> None:
    """Put the answer in the place of an interpolation at `key`, so that a value can be set below it."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if key and isinstance(node, DictConfig) and OmegaConf.is_interpolation(node, last):
        node[last] = OmegaConf.select(cfg, key)


def _applies(cfg: DictConfig, override: Override) -> bool:
    key = override.key_or_group
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, DictConfig) and last in node.keys():  # noqa: SIM118 (`in` alone denies a ???)
        return True
    if override.is_delete():
        return False
    plus = override.is_add() and not override.is_force_add()
    if parent == "space" or parent.startswith("space."):
        return (plus or isinstance(override.value(), dict)) and _leads_to_a_value(cfg, key.split(".")[1:])
    return plus or parent in ("choose", "objective.constraints")


def _leads_to_a_value(cfg: DictConfig, path: Sequence[str]) -> bool:
    node: Any = cfg
    for part in path:
        if not isinstance(node, DictConfig):
            break
        if part not in node:
            return False
        node = node[part]
    return True


def _is_another_kind(old: Any, new: Any) -> bool:
    """Tell whether one dimension of the search space takes the place of another, as choices do of an interval."""
    if not isinstance(old, DictConfig) or not isinstance(new, dict) or not isinstance(old.get("type"), str):
        return False
    kind = new.get("type") or ("categorical" if "choices" in new else None)
    return old["type"] != kind if kind else old["type"] == "categorical" and "low" in new
