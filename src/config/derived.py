"""The model of the nets that are derived from a supernet: a second branch of the space beside the supernet's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from src.system.errors import UserError

OPERATIONS = "model.operations"  # what is derived


def derived_model(model: Mapping[str, Any], darts: Mapping[str, Any] | None) -> str | None:
    """Return the name of the model that is derived from a section `model`; None without a section `training.darts`.

    Raises:
        UserError: the model has no architecture parameters.
    """
    if not darts:
        return None
    name = model.get("name")
    if name not in darts["derived"]:
        supernets = " or ".join(darts["derived"])
        raise UserError(f"training=darts: model={name} has no architecture parameters; take model={supernets}")
    return str(darts["derived"][name])


def derived_groups(groups: Sequence[str], model: str) -> list[str]:
    """Return the words that choose groups for nets that are derived from a supernet.

    Args:
        groups: the words of the command line that do so for the supernet.
        model: of the nets.
    """
    others = [word for word in groups if word.lstrip("+").partition("=")[0] not in ("model", "training")]
    return [*others, f"model={model}", "training=standard"]
