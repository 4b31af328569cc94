"""Words of the command line as a person types them, quoted for Hydra's grammar and for a shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

TEXT = r"(?!(?:null|true|false|nan|inf)$)[a-z_]"  # how what Hydra reads as a text begins
BARE = re.compile(rf"{TEXT}[\w./+-]*", re.ASCII | re.IGNORECASE)
KEY = re.compile(rf"{TEXT}[ \w.?%@|*$+-]*", re.ASCII | re.IGNORECASE)  # keys of a mapping cannot be quoted


def override(key: str, value: Any) -> str:
    """Write the word that sets a key, as in `'data.keep=["größe [cm]"]'`.

    Args:
        key: dotted.
        value: a text, a number, a list or a mapping of them.
    """
    if isinstance(value, Mapping) and not all(KEY.fullmatch(str(name)) for name in value):
        section, _, last = key.partition(".")
        return f"`{last}: {_literal(value, yaml=True)}` in a YAML of conf/{section}/"
    return shlex.quote(f"{key}={_literal(value)}")


def _literal(value: Any, yaml: bool = False) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_name(name, yaml)}: {_literal(item, yaml)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(item, yaml) for item in value) + "]"
    if not isinstance(value, str):
        return str(value)
    if BARE.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False) if yaml else _quoted(value)


def _name(name: Any, yaml: bool) -> str:
    return json.dumps(str(name), ensure_ascii=False) if yaml else str(name)


def _quoted(text: str) -> str:
    """Put a text between double quotes: in Hydra's grammar, a backslash counts only before a quote."""
    return '"' + re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + match[2].replace('"', r"\""), text) + '"'
