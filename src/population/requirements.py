"""Requirements of a config that its data or its model do not meet."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from src.population.activity_penalty import LAYERS
from src.population.hyperparameters import strength
from src.system.errors import UserError


def refuse_impossible(config: Mapping[str, Any], model: nn.Module, meta: Mapping[str, Any]) -> None:
    """Refuse a `config` that asks for what its `model`, or the data that `meta` describes, do not have.

    Raises:
        UserError: it names the key.
    """
    for key in config["training"].get("augment", ()):
        if len(meta["input_shape"]) != 3 and strength(config, f"training.augment.{key}"):
            raise UserError(
                f"training.augment.{key}: {config['training']['augment'][key]} is for images, but the data is a table: "
                "take 0, or training.noise"
            )
    for key in ("l1", "l2"):
        asked = strength(config, f"training.regularization.activity.{key}")
        if asked and not any(isinstance(layer, LAYERS) for layer in model.modules()):
            raise UserError(
                f"training.regularization.activity.{key}: {asked} is for activation layers (nn.ReLU, ...), "
                "the model has none: take 0"
            )
