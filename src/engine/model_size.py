"""Questions about a model for the process that answers them apart: its size, and whether it can be trained here."""

from collections.abc import Mapping
from typing import Any

from src.models.building import build, n_operations, n_parameters, outline
from src.population.requirements import refuse_impossible


def operations_and_parameters(model: Mapping[str, Any], meta: Mapping[str, Any]) -> tuple[int, int]:
    """Count the multiply-adds of one row's forward pass through a model, and its parameters, for the data of `meta`."""
    net = build(model, meta)
    return n_operations(net, tuple(meta["input_shape"])), n_parameters(net)


def refuse_untrainable(model: Mapping[str, Any], trial: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Refuse a `trial` whose `model` cannot be built for the data that `meta` describes, or lacks what the trial asks of it.

    Raises:
        UserError: it names the key.
        ValueError: a hyperparameter does not go with the others or the data, or the weights need more memory than there is.
    """
    refuse_impossible(trial, outline(model, meta), meta)
