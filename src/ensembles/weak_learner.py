"""The weak members of boosting: the best config, but smaller or shorter."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from src.system.errors import UserError, require_one_of
from src.system.trial_config import TrialConfig


def weak(best: TrialConfig, model: Mapping[str, Any], epochs: int | None) -> TrialConfig:
    """Make the config of a weak member: `best` with other values for the keys `model` of its model, and for `epochs`.

    None in the place of `epochs` leaves those of `best`.

    Raises:
        UserError: the model has no such key, or looks up the targets of the rows on which boosting asks what it learnt.
    """
    if best.model.get("name") == "nca":
        raise UserError("members: boosting learns nothing of model=nca, which looks up its training rows: take seeds")
    for key in model:
        require_one_of("members.model", key, best.model)
    return replace(best, epochs=epochs or best.epochs).with_model(**model)
