"""The weak members of boosting: the best config, but smaller or shorter."""

from collections.abc import Mapping
from typing import Any

from src.ensembles.final_member import Config
from src.system.errors import known


def weak(best: Config, model: Mapping[str, Any], epochs: int | None) -> dict[str, Any]:
    """`best` with some keys of its model changed, and other epochs (None: as many).

    Raises:
        UserError: the model has no such key.
    """
    for key in model:
        known("members.model", key, best["model"])
    return {**best, "model": {**best["model"], **model}, "epochs": epochs or best["epochs"]}
