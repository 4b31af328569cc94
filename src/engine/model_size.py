"""Questions about a model for the process that answers them apart: its size, and whether it can be trained here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.engine.memory import memory
from src.models.building import TRAINING_BYTES, build, n_operations, n_parameters, outline
from src.models.mixture import Supernet
from src.models.step_memory import bytes_of_a_row
from src.models.training_rows import LooksUpRows
from src.population.requirements import refuse_impossible
from src.system.data_meta import DataMeta
from src.system.trial_config import TrialConfig

MOST_NEIGHBOURS = 200_000  # training rows that a model of the pipeline may look up for every prediction


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


def refuse_unsuitable(model: Mapping[str, Any], meta: DataMeta) -> None:
    """Refuse a model that cannot take the data that `meta` describes, or would take hours to look up so many rows.

    Raises:
        UserError: there is no such model.
        ValueError: a hyperparameter does not go with the others or the data, or there are too many rows.
    """
    if isinstance(build(model, meta), LooksUpRows) and meta.n_train > MOST_NEIGHBOURS:
        raise ValueError(
            f"model.name={model['name']} compares every row with all {meta.n_train:,} training rows, which takes hours with "
            f"more than {MOST_NEIGHBOURS:,}: set data.rows, or sweep it by itself"
        )


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
    if isinstance(net, Supernet):
        _refuse_large_supernet(model, trial, meta)


def _refuse_large_supernet(model: Mapping[str, Any], trial: TrialConfig, meta: DataMeta) -> None:
    """Refuse a supernet of which a step, with all operations of every edge, takes more memory than there is.

    Memory grows evenly with the cells, so that two small nets say it for any number.
    """
    few = [build({**model, "cells": cells}, meta) for cells in (1, 2)]
    of_row = [trial.batch_size * bytes_of_a_row(net, meta.input_shape) for net in few]
    one, two = (TRAINING_BYTES * n_parameters(net) + step for net, step in zip(few, of_row, strict=True))
    needed = one + (model["cells"] - 1) * (two - one)
    if needed <= memory():
        return
    fit = int(1 + (memory() - one) // (two - one))
    cells = f"model.cells={fit} would fit" if fit > 0 else "not even one cell would fit"
    there = f"{needed / 1e9:,.0f} GB, this machine has {memory() / 1e9:,.0f} GB"
    raise ValueError(f"model.cells: a step of the supernet takes {there}: {cells}, or take a smaller batch_size.")
