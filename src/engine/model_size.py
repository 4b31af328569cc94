"""Questions about a model for the process that answers them apart: its size, and whether it can be trained here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.engine.memory import memory
from src.models.building import build, n_operations, n_parameters, outline
from src.models.training_rows import LooksUpRows
from src.population.requirements import refuse_impossible
from src.system.data_meta import DataMeta
from src.system.trial_config import TrialConfig


@dataclass(frozen=True)
class Size:
    """Multiply-adds of a row's prediction and of its way forward in training, and parameters, of a model."""

    operations: int
    training_operations: float
    parameters: int


def size(model: Mapping[str, Any], meta: DataMeta, batch: int) -> Size:
    """Count what a model takes for the data that `meta` describes, in training by so many rows a `batch`."""
    net, shape = build(model, meta), meta.input_shape
    if not isinstance(net, LooksUpRows):
        return Size(n_operations(net, shape), n_operations(net, shape, training=True), n_parameters(net))
    encoding, rows = n_operations(net.encoder, shape), meta.n_train
    training = net.training_operations(rows, batch, encoding)
    return Size(net.prediction_operations(rows, encoding), training, n_parameters(net))


def refuse_untrainable(model: Mapping[str, Any], trial: TrialConfig, meta: DataMeta) -> None:
    """Refuse a `trial` whose `model` cannot be built for the data that `meta` describes, or lacks what the trial asks of it.

    Raises:
        UserError: it names the key.
        ValueError: a hyperparameter does not go with the others or the data, or the weights or a step need more memory than
            there is.
    """
    net = outline(model, meta)
    refuse_impossible(trial, net, meta)
    if isinstance(net, LooksUpRows) and (needed := net.step_bytes(meta.n_train, trial.batch_size)) > memory():
        there = f"{needed / 1e9:,.0f} GB, this machine has {memory() / 1e9:,.0f} GB"
        raise ValueError(f"model.candidates: a step takes {there}: look at fewer, or take a smaller batch_size.")
