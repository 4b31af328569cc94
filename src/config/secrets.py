"""Addresses with a password stay at their own keys: what a config holds elsewhere is written, shown and sent."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from src.system.errors import UserError, masked

ADDRESSES = ("storage", "store.url", "tracking.uri", "executor.address")


def refuse_copies(config: Mapping[str, Any], typed: Collection[str]) -> None:
    """Refuse a config in which a YAML file has copied an address with a password, from the environment or its own key.

    Args:
        config: with all interpolations resolved.
        typed: the keys that the command line set, which are the person's.

    Raises:
        UserError: it names both keys.
    """
    leaves = dict(_leaves(config))
    secrets = {key: text for key in ADDRESSES if masked(text := str(leaves.get(key, ""))) != text}
    for path, value in leaves.items() if secrets else ():
        for key, secret in secrets.items():
            if secret in str(value) and path not in ADDRESSES and path not in typed:
                raise UserError(f"{path}: a YAML file copies {key}, which has a password; take it out of the file")


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path, node
    for key, child in items or ():
        yield from _leaves(child, f"{path}.{key}" if path else str(key))
