"""The origin of prepared data: raw files by digest, and the config."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.system.errors import UserError

if TYPE_CHECKING:
    from src.data.reader import Reader

PLACES = ("root", "source", "name")  # keys that say where files are, not what becomes of them
LINKED = "linked"  # below data/raw/<name>: links to the files that stand elsewhere, for DVC to see them change


def origin(config: Mapping[str, Any], reader: Reader, typed: Collection[str]) -> dict[str, Any]:
    """Describe what prepared data are made of, for `meta.json`.

    Args:
        config: the section `data` of the config.
        reader: made of it.
        typed: the keys of it that the command line set.
    """
    settings = {key: value for key, value in config.items() if key not in PLACES or key in typed}
    return {"config": settings, "typed": sorted(typed), "files": digests(reader)}


def digests(reader: Reader) -> dict[str, str]:
    """Compute the SHA-256 of each raw file.

    Raises:
        UserError: one is not there.
    """
    digest = {}
    for name in reader.files:
        with reader.find(name).open("rb") as file:
            digest[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digest


def check_name(name: str, option: str, typed: Collection[str]) -> None:
    """Refuse a YAML that bears the name of another data set, as a copied one does: it would overwrite that one.

    Args:
        name: of the data set.
        option: the YAML's name, without its ending.
        typed: the keys of `data` that the command line set.

    Raises:
        UserError: they differ, and the command line does not name the data set.
    """
    if name != option and "name" not in typed:
        raise UserError(f"data.name: {option}.yaml says {name}, which would overwrite that data set: name it {option}")


def link_files(reader: Reader, raw: Path = Path("data/raw")) -> None:
    """Link the raw files that stand outside of `raw`/<name> into it, so that DVC sees a change of them."""
    folder = raw / reader.name
    outside = {name: path for name in reader.files if not (path := reader.find(name)).is_relative_to(folder)}
    if (folder / LINKED).is_dir():
        shutil.rmtree(folder / LINKED)
    for number, path in enumerate(outside.values()):
        link = folder / LINKED / f"{number}-{path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(path.resolve(), link.parent.resolve()))
