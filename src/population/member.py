"""One model in training, and what is kept of it between epochs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from src.files import write_bytes
from src.population.batches import grows


@dataclass(frozen=True)
class Member:
    """A config, a seed, and the training rows: which (None: all) and how heavy (mean 1; None: alike).

    `held`: the training rows that it is evaluated on; None: the validation rows.
    """

    config: Mapping[str, Any]
    seed: int
    rows: NDArray[np.int64] | None = None
    weights: NDArray[np.float32] | None = None
    held: NDArray[np.int64] | None = None

    def signature(self) -> str:
        """Members of equal signature have equal tensor shapes and may train as one population.

        Strengths that the engine keeps per member (dropout, and everything of optimizer, schedule and training) differ
        freely, but for a penalty of activities, which changes the way of gradients where there is one.
        """
        model = {k: v for k, v in self.config["model"].items() if k != "dropout"}
        rows = [None if own is None else len(own) for own in (self.rows, self.held)]
        optimizer = {k: v for k, v in self.config["optimizer"].items() if k in ("name", "_target_")}
        batches = [self.config["batch_size"], self.config.get("accumulate", 1)]
        if grows(self.config):
            batches += [self.config["batch_growth"], self.config["epochs"]]
        activity = (self.config.get("regularization") or {}).get("activity") or {}
        parts = [model, batches, rows, self.weights is None, optimizer, any(activity.values())]
        return json.dumps(parts, sort_keys=True)


@dataclass
class State:
    """A member between epochs: `weights` by their `state_dict` names, `optimizer` rows [P], curves, predictions.

    `kept`: the weights that made the predictions, where they are others: averaged ones, or those of the best epoch.
    """

    epoch: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    curves: dict[str, list[float]]
    predictions: Tensor
    kept: dict[str, Tensor] = field(default_factory=dict)

    @property
    def model_weights(self) -> dict[str, Tensor]:
        """The weights to predict with."""
        return self.kept or self.weights

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        tensors = {f"weights/{k}": v for k, v in self.weights.items()}
        tensors |= {f"optimizer/{k}": v for k, v in self.optimizer.items()}
        tensors |= {f"kept/{k}": v for k, v in self.kept.items()}
        tensors["predictions"] = self.predictions
        metadata = {"epoch": str(self.epoch), "curves": json.dumps(self.curves)}
        write_bytes(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read what `save` wrote.

        Raises:
            OSError: there is no whole checkpoint at `path`.
        """
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                metadata = file.metadata()
        except (SafetensorError, RuntimeError) as error:  # the second: it was there, and another process has removed it
            raise OSError(f"{path} is torn or gone: {error}") from error
        weights, optimizer, kept = (
            {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            for part in ("weights/", "optimizer/", "kept/")
        )
        curves = json.loads(metadata["curves"])
        return cls(int(metadata["epoch"]), weights, optimizer, curves, tensors["predictions"], kept)


def derived_seed(seed: int, *place: int) -> int:
    """A seed of its own for each place in the tree under `seed` (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence(seed, spawn_key=place).generate_state(1, np.uint64)[0] >> np.uint64(1))


def one_thread() -> None:
    """What a worker is: one thread, deterministic, and no denormals to slow a dying net down."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms(True), which imports a compiler: 1 s
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # no operation here reads what it has not written
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
