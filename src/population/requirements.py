"""What a config asks of data or a model that do not have it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from src.population.activity_penalty import LAYERS
from src.population.hyperparameters import strength
from src.system.errors import UserError


def refuse_impossible(config: Mapping[str, Any], model: nn.Module, meta: Mapping[str, Any]) -> None:
    """Raise a UserError that names the key."""
    for key in config.get("augment", ()):
        if len(meta["input_shape"]) != 3 and strength(config, f"augment.{key}"):
            raise UserError(
                f"augment.{key}: {config['augment'][key]} is for images, but the data is a table: take 0, or training.noise"
            )
    for key in ("l1", "l2"):
        asked = strength(config, f"regularization.activity.{key}")
        if asked and not any(isinstance(layer, LAYERS) for layer in model.modules()):
            raise UserError(
                f"regularization.activity.{key}: {asked} is for activation layers (nn.ReLU, ...), the model has none: take 0"
            )
