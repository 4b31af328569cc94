"""Requirements of a config that its data or its model do not meet."""

from torch import nn

from src.models.mixture import Supernet
from src.population.activity_penalty import LAYERS
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.trial_config import TrialConfig


def refuse_impossible(config: TrialConfig, model: nn.Module, meta: DataMeta) -> None:
    """Refuse a `config` that asks for what its `model`, or the data that `meta` describes, do not have.

    Raises:
        UserError: it names the key.
    """
    if isinstance(model, Supernet) and not config.training.darts:
        name = config.model.get("name")
        raise UserError(
            f"training: model={name} is all of its nets at once, of which only training=darts derives one: take it"
        )
    for key, asked in config.training.augment.strengths.items():
        if len(meta.input_shape) != 3 and asked:
            none = "false" if asked is True else "0"
            raise UserError(
                f"training.augment.{key}: {asked} is for images, but the data is a table: take {none}, or training.noise"
            )
    for key, asked in config.training.regularization.activity.strengths.items():
        if asked and not any(isinstance(layer, LAYERS) for layer in model.modules()):
            raise UserError(
                f"training.regularization.activity.{key}: {float(asked)} is for activation layers (nn.ReLU, ...), "
                "the model has none: take 0"
            )
