"""One model in training, and the arithmetic of the process that trains it."""

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.models.building import VALUES
from src.system.trial_config import TrialConfig


@dataclass(frozen=True)
class Member:
    """The config and the seed of a model, and the rows that it trains on and is evaluated on.

    `rows`: places of the training rows; None: all. `weights`: of all training rows, with mean 1; None: all
    count alike. `holdout_rows`: places of training rows that it is evaluated on; None: the validation rows.
    """

    config: TrialConfig
    seed: int
    rows: NDArray[np.int64] | None = None
    weights: NDArray[np.float32] | None = None
    holdout_rows: NDArray[np.int64] | None = None

    def signature(self) -> str:
        """Return a text that is equal for members with equal tensor shapes, which may train as one population.

        Strengths that the engine keeps per member (dropout, and everything of optimizer, schedule and training) differ
        freely, and so does what initial weights alone depend on; but a penalty of activities changes the way of gradients
        where there is one.
        """
        model = {k: v for k, v in self.config.model.items() if k not in VALUES}
        rows = [None if places is None else len(places) for places in (self.rows, self.holdout_rows)]
        optimizer = {k: v for k, v in self.config.optimizer.items() if k in ("name", "_target_")}
        training = self.config.training
        batches: list[Any] = [self.config.batch_size, training.accumulate]
        if training.batch_growth.on:
            batches += [training.batch_growth.to_json(), self.config.epochs]
        activity = any(training.regularization.activity.strengths.values())
        parts = [model, batches, rows, self.weights is None, optimizer, activity]
        if outer := training.hypergradient:  # its rate and constants are a member's own
            parts += [{k: v for k, v in outer.items() if k not in ("rate", "values")}, bool(outer["values"])]
        if darts := training.darts:
            parts += [darts["order"], darts["interval"]]
        return json.dumps(parts, sort_keys=True)


def one_thread() -> None:
    """Make this process compute on one thread, deterministically, and without denormals, which slow a dying net down."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms(True), which imports a compiler: 1 s
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # no operation here reads what it has not written
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
