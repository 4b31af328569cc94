"""A final member: what was trained, what it predicts and how much it weighs, in memory and as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from src.models.building import build
from src.models.training_rows import row_tensors
from src.population.checkpoint import Checkpoint
from src.population.losses import score
from src.population.member import Member
from src.population.member_rows import with_rows
from src.population.prediction_chunks import chunks
from src.population.rows import Rows
from src.population.stack import build_model
from src.system.arrays import read_npy
from src.system.checksums import write_checksums
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.files import write_bytes, write_npy
from src.system.tensors import read_weights, tensor_bytes
from src.system.trial_config import TrialConfig


@dataclass(frozen=True, eq=False)
class FinalMember:
    """A trained member of an ensemble. `name` is its folder, unique within its model; `meta` describes the data.

    `checkpoint` has its weights and its predictions for the validation rows: probabilities [N, C], or values [N] in the
    target's unit. `weight` is its weight among the members of the same model and method, as boosting gives it.
    `out_of_fold_predictions` are the same for all training rows, NaN for those that it was trained on.
    `refit` is the same member trained on the validation rows too, where there is one.
    """

    name: str
    member: Member
    checkpoint: Checkpoint
    meta: DataMeta
    weight: float = 1.0
    out_of_fold_predictions: NDArray[np.float32] | None = None
    refit: FinalMember | None = None
    model: str = ""
    method: str = ""

    @classmethod
    def trained(cls, name: str, member: Member, checkpoint: Checkpoint, data: Rows) -> FinalMember:
        """Make the final member of a `checkpoint`, whose weights have the training rows where the model looks them up.

        Args:
            name: its folder.
            member: that was trained.
            checkpoint: of its training.
            data: the rows out of which its own are.
        """
        model = build_model(member, data.meta, None)
        if row_tensors(model):
            both = (checkpoint.weights, checkpoint.prediction_weights)
            weights, prediction_weights = (with_rows(part, model, member, data) if part else {} for part in both)
            checkpoint = replace(checkpoint, weights=weights, prediction_weights=prediction_weights)
        return cls(name, member, checkpoint, data.meta)

    @property
    def title(self) -> str:
        """Name for people, unique among all models."""
        return f"{self.model} {self.name}" if self.method in self.name else f"{self.model} {self.method} {self.name}"

    @property
    def val_predictions(self) -> NDArray[np.float32]:
        """Predictions for the validation rows, [N, C] or [N]."""
        return np.asarray(self.checkpoint.predictions.numpy())

    def is_finite(self) -> bool:
        """Tell whether its weights and its predictions for the validation rows are finite numbers."""
        tensors = [*self.checkpoint.model_weights.values(), self.checkpoint.predictions]
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def net(self) -> nn.Module:
        """Build its net with its weights, in eval mode: x → raw outputs [N, C]."""
        net = build(self.member.config.model, self.meta)
        net.load_state_dict(self.checkpoint.model_weights)
        return net.eval()

    def predict(self, x: Tensor) -> NDArray[np.float32]:
        """Predict probabilities [N, C], or values [N] in the target's unit, for prepared rows `x` [N, ...]."""
        module = build_model(self.member, self.meta, None)
        module.load_state_dict(self.checkpoint.model_weights)
        module.eval()
        with torch.no_grad():
            output_NC = torch.cat([module(part) for part in chunks(x, module)])
        y_N = torch.zeros(len(x), dtype=torch.long if self.meta.classification else torch.float32)
        return np.asarray(score(output_NC[None], y_N[None], self.meta)[1][0].numpy())

    def with_out_of_fold_predictions(self, x_train: Tensor) -> FinalMember:
        """Return the member with predictions for those rows of `x_train` [N, ...] that it was not trained on."""
        holdout_rows = _rows_left_out(self.member, len(x_train))
        predictions = self.predict(x_train[torch.from_numpy(holdout_rows)])
        among_all = np.full((len(x_train), *predictions.shape[1:]), np.nan, predictions.dtype)
        among_all[holdout_rows] = predictions
        return replace(self, out_of_fold_predictions=among_all)

    def to_json(self, folder: Path) -> dict[str, Any]:
        """Write its files below `folder`, and return its line of members.json."""
        line = {"name": self.name, "members": self.method, "seed": self.member.seed} | self._files(folder, "")
        if self.refit is not None:
            line["refit"] = self.refit._files(folder, "refit-")
        write_checksums(folder / self.name)
        return line

    def _files(self, folder: Path, prefix: str) -> dict[str, Any]:
        """Write what a member and its refit have each; file names begin with `prefix`."""
        line: dict[str, Any] = {"config": self.member.config.to_json(), "weight": self.weight}
        line["weights"] = f"{self.name}/{prefix}weights.safetensors"
        line["predictions"] = f"{self.name}/{prefix}val.npy"
        write_bytes(folder / line["weights"], tensor_bytes(self.checkpoint.model_weights))
        write_npy(folder / line["predictions"], self.val_predictions)
        if self.out_of_fold_predictions is not None:
            line["held"] = f"{self.name}/{prefix}held.npy"
            write_npy(folder / line["held"], self.out_of_fold_predictions)
        return line

    @classmethod
    def from_json(cls, folder: Path, model: str, line: Mapping[str, Any], meta: DataMeta) -> FinalMember:
        """Read what `to_json` wrote: a `line` of the members.json in `folder`, of a model on the data of `meta`.

        Raises:
            UserError: one of its files is missing, or an earlier version wrote it.
        """
        if line.get("refit") is True or "config" not in line:
            raise UserError(f"models: {model} was trained by an earlier version; run python -m src.train model={model}")

        def read(part: Mapping[str, Any], refit: FinalMember | None) -> FinalMember:
            again = f"run python -m src.train model={model} again"
            weights = read_weights(_existing(folder / part["weights"], model), again)
            predictions, out_of_fold = (
                read_npy(_existing(folder / part[key], model), again) if key in part else None
                for key in ("predictions", "held")
            )
            config = TrialConfig.from_json(part["config"])
            checkpoint = Checkpoint(config.epochs, weights, {}, {}, torch.from_numpy(predictions))
            member = Member(config, line["seed"])
            return cls(
                line["name"], member, checkpoint, meta, part["weight"], out_of_fold, refit, model, line["members"]
            )

        return read(line, read(line["refit"], None) if "refit" in line else None)


def _existing(path: Path, model: str) -> Path:
    if not path.exists():
        raise UserError(f"models: {path} of {model} is missing; train it again")
    return path


def _rows_left_out(member: Member, n_rows: int) -> NDArray[np.int64]:
    """Rows of the `n_rows` training rows that a member was not trained on: not among its own, or of no weight."""
    if member.weights is not None:
        return np.flatnonzero(member.weights == 0)
    return np.setdiff1d(np.arange(n_rows), np.arange(n_rows) if member.rows is None else member.rows)


def out_of_fold_mean(out_of_fold_predictions: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Average what members predict for training rows that they were not trained on; NaN where all were."""
    p_MN = np.stack(out_of_fold_predictions)
    count_N = np.isfinite(p_MN).sum(0)
    total = np.nansum(p_MN, 0, dtype=np.float64)
    return np.where(count_N > 0, total / np.maximum(count_N, 1), np.nan).astype(out_of_fold_predictions[0].dtype)


def member_weights(members: Sequence[FinalMember]) -> NDArray[np.float64]:
    """Weight of each member in an average of all, shape [M], summing to 1.

    Within a group (same model, same method) members keep the ratio of their own weights, as AdaBoost gives them; every
    group has the same mean weight.
    """
    groups = [[m.weight for m in members if (m.model, m.method) == (one.model, one.method)] for one in members]
    weights = np.array([member.weight / np.mean(group) for member, group in zip(members, groups, strict=True)])
    return np.asarray(weights / weights.sum())
