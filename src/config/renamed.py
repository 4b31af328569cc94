"""Keys of the config that have another name now: refused where a person writes them, translated where a file has them.

Studies and output folders that were written under the first names go on: what they recorded is translated when it is
read, and a study's digest is that of its config under the first names.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

RENAMED = {  # first name: name of today; of a section, also what is in it
    "objectives": "objective.minimize",
    "constraints": "objective.constraints",
    "search.prior": "search.rate_prior",
    "optimizer.scaling": "optimizer.batch_scaling.rule",
    "optimizer.base_batch": "optimizer.batch_scaling.base_batch",
    "optimizer.warmup_epochs": "optimizer.batch_scaling.rise_epochs",
    "regularization": "training.regularization",
    "augment": "training.augment",
    "averaging": "training.averaging",
    "early_stopping": "training.early_stopping",
    "batch_growth": "training.batch_growth",
    "accumulate": "training.accumulate",
    "combiner.held": "combiner.fit_on",
}
ADDED = {  # keys that came later, at the values at which everything is as it was without them
    "model.frequencies": 48,
    "model.frequency_scale": 0.1,
    "model.embedding_lite": True,
    "model.bins": "quantile",
    "model.n_bins": 48,
    "model.parametric_activation": False,
    "model.front_scale": False,
    "model.convolutions": 1,
    "model.pooling": "average",
    "model.norm_scale": True,
    "model.initial": "random",
    "model.whitening": False,
    "model.tta": "none",
    "training.augment.alternating_flip": False,
    "optimizer.rate_factors": {"by_fan_in": False, "bias": 1.0, "scale": 1.0, "activation": 1.0, "embedding": 1.0},
}
RENAMED_PARAMS = {"prior": "rate_prior"}  # of params.yaml


def name_of_today(key: str) -> str:
    """Translate a dotted key, or the name of a parameter such as `sgd/optimizer.scaling`; others stay as they are."""
    branch, slash, name = key.rpartition("/")
    space, name = ("space.", name[6:]) if name.startswith("space.") else ("", name)
    return branch + slash + space + _translated(name, RENAMED)


def first_name(key: str) -> str:
    """Translate a dotted key, or the name of a parameter, back to its first name."""
    branch, slash, name = key.rpartition("/")
    return branch + slash + _translated(name, {new: old for old, new in RENAMED.items()})


def with_names_of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite a trial's config that a file has under first names."""
    return _moved(config, RENAMED)


def with_first_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite a config, or a part of it, as it was under first names, without what came later and is as if it were not."""
    for path, value in ADDED.items():
        config = _without(config, path.split("."), value)
    return _moved(config, {new: old for old, new in RENAMED.items()})


def _without(config: Mapping[str, Any], path: Sequence[str], value: Any) -> Mapping[str, Any]:
    """Leave out the key at `path` where it has this `value`."""
    first, *rest = path
    part = config.get(first)
    if rest:
        return {**config, first: _without(part, rest, value)} if isinstance(part, Mapping) else config
    same = first in config and part == value and type(part) is type(value)
    return {key: each for key, each in config.items() if key != first} if same else config


def _translated(key: str, names: Mapping[str, str]) -> str:
    for before, after in names.items():
        if key == before or key.startswith(f"{before}."):
            return after + key.removeprefix(before)
    return key


def _moved(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Put every value of a config at the new place of its key."""
    result: dict[str, Any] = {}
    for path, value in _values(config, (), {*names, *names.values()}):
        *sections, last = _translated(".".join(path), names).split(".")
        node = result
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return result


def _values(config: Mapping[str, Any], path: tuple[str, ...], names: set[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List the values of a config, each whole unless a name leads inside of it."""
    for key, value in config.items():
        inside = (*path, str(key))
        dotted = ".".join(inside)
        if isinstance(value, Mapping) and value and any(name.startswith(f"{dotted}.") for name in names):
            yield from _values(value, inside, names)
        else:
            yield inside, value
