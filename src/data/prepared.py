"""The folder of the prepared data that a verb asks for: the one that `prepare` wrote, or another beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from src.config.data_defaults import PREPARED
from src.data.dataset import read_meta
from src.data.reader import parse
from src.data.sources import PLACES, digests, origin
from src.system.errors import UserError


def prepared_folder(config: Mapping[str, Any], typed: Collection[str], base: Path = PREPARED) -> Path:
    """Return the folder of the prepared data that a verb asks for.

    It is `base`/<name>, as `prepare` writes it. Where the command line of the verb sets other keys of `data`, the data are
    prepared beside it, in a folder of their own.

    Args:
        config: the section `data` of the verb's config.
        typed: the keys of it that the verb's command line set.
        base: the folder of all prepared data.

    Raises:
        UserError: the data are not prepared, or a raw file or a YAML has changed since.
    """

    name = str(config["name"])
    folder = base / name
    if not (folder / "meta.json").exists():
        raise UserError(f"data: {folder} is not prepared; run python -m src.prepare data={name} first")
    made_of = read_meta(folder).origin
    if made_of is None:
        if typed:
            raise UserError(f"data.{min(typed)}: {folder} does not say what made it: run python -m src.prepare again")
        return folder
    wanted = _with_typed_values(config, typed, made_of)
    difference = _difference(wanted, made_of, typed)
    if not difference:
        return folder
    if not typed:
        raise UserError(f"data: {folder} is not what its sources make today ({difference}): {_command(name, made_of)}")
    return _prepared_beside(wanted, {*typed, *made_of["typed"]}, base, difference)


def _with_typed_values(config: Mapping[str, Any], typed: Collection[str], made_of: Mapping[str, Any]) -> dict[str, Any]:
    """Take over the keys that the command line of `prepare` set, and that of the verb does not."""
    earlier = {key: made_of["config"][key] for key in made_of["typed"] if key not in typed and key in made_of["config"]}
    return {**config, **earlier}


def _difference(wanted: Mapping[str, Any], made_of: Mapping[str, Any], typed: Collection[str]) -> str:
    """Say what differs first between the config and files that are wanted and those that made a folder; "" if nothing."""

    for key, value in wanted.items():
        before = made_of["config"].get(key)
        if key not in PLACES and json.dumps(value, default=str) != json.dumps(before, default=str):
            return f"data.{key} is {value!r}, not {before!r}"
    if lacking := [key for key in made_of["config"] if key not in wanted]:
        return f"data.{lacking[0]} is gone"
    reader = parse(wanted)
    try:
        files = digests(reader)
    except UserError:
        if {"root", "file"} & set(typed):
            raise
        return ""  # prepared data can do without their raw files
    changed = [name for name, digest in files.items() if digest != made_of["files"].get(name)]
    return f"{reader.find(changed[0])} is another file" if changed else ""


def _prepared_beside(wanted: Mapping[str, Any], typed: Collection[str], base: Path, difference: str) -> Path:

    reader = parse(wanted)
    made_of = origin(wanted, reader, typed)
    identity = [{key: value for key, value in made_of["config"].items() if key not in PLACES}, made_of["files"]]
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:8]
    folder = base / f"{reader.name}-{fingerprint}"
    if not (folder / "meta.json").exists():
        from src.data.preparing import prepare  # brings scikit-learn and pandas, which few verbs need

        print(f"data: {difference}, so it is prepared beside, in {folder}", flush=True)
        prepare(wanted, folder, typed)
    return folder


def _command(name: str, made_of: Mapping[str, Any]) -> str:
    words = [f"data.{key}={made_of['config'][key]}" for key in made_of["typed"] if key in made_of["config"]]
    return f"run {' '.join(['python -m src.prepare', f'data={name}', *words])}"
