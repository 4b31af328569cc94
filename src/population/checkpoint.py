"""A member between two epochs, as a file that is whole or not there."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from src.system.files import write_bytes
from src.system.tensors import read_tensors, tensor_bytes


@dataclass
class Checkpoint:
    """Everything that a member's next epoch needs, after `epoch` epochs.

    `weights` have their names in the module's `state_dict`; `optimizer` has rows [P] by name; `curves` a value an epoch;
    `predictions` are those for the validation rows: probabilities [N, C], or values [N] in the target's unit.
    `prediction_weights`: the weights that made them, where they are not `weights`: averages, or those of the best epoch.
    """

    epoch: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    curves: dict[str, list[float]]
    predictions: Tensor
    prediction_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def model_weights(self) -> dict[str, Tensor]:
        """The weights to predict with."""
        return self.prediction_weights or self.weights

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        tensors = {f"weights/{k}": v for k, v in self.weights.items()}
        tensors |= {f"optimizer/{k}": v for k, v in self.optimizer.items()}
        tensors |= {f"kept/{k}": v for k, v in self.prediction_weights.items()}
        tensors["predictions"] = self.predictions
        metadata = {"epoch": str(self.epoch), "curves": json.dumps(self.curves)}
        write_bytes(path, tensor_bytes(tensors, metadata))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read what `save` wrote.

        Raises:
            OSError: there is no checkpoint at `path` that is as it was written.
        """
        tensors, metadata = read_tensors(path)
        weights, optimizer, prediction_weights = (
            {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            for part in ("weights/", "optimizer/", "kept/")
        )
        curves = json.loads(metadata["curves"])
        return cls(int(metadata["epoch"]), weights, optimizer, curves, tensors["predictions"], prediction_weights)
