"""A trained model, or an ensemble of several, as a folder that MLflow loads and serves: raw rows in, predictions out.

The bundle folder holds `meta.json` (what the data are), `preprocessing.skops` (raw rows → x), `bundle.json` (each member's
config, file and weight), `member-<i>.safetensors`, and `MLmodel`, by which `mlflow.pyfunc.load_model` finds this module.
"""

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src.data import transform
from src.errors import UserError
from src.files import atomic_folder, write_json, write_text
from src.models import build

_ROWS = 4096  # predicted at a time

_MLMODEL = """\
flavors:
  python_function:
    loader_module: src.serving
    python_version: {python}
"""


def write_bundle(folder: Path, meta: Mapping[str, Any], members: Sequence[Mapping[str, Any]], prepared: Path) -> None:
    """Put members into `folder`: each has a `config`, the `weights` as a safetensors file or state dict, and its `weight`.

    The same members give the same bytes. The weight is a member's share of the mean; they need not sum to one.
    """
    with atomic_folder(folder) as new:
        entries = []
        for number, member in enumerate(members):
            file = f"member-{number}.safetensors"
            _write_weights(member["weights"], new / file)
            entries.append({"config": member["config"], "file": file, "weight": float(member["weight"])})
        shutil.copyfile(prepared / "preprocessing.skops", new / "preprocessing.skops")
        write_json(new / "meta.json", meta)
        write_json(new / "bundle.json", {"members": entries})
        write_text(new / "MLmodel", _MLMODEL.format(python=platform.python_version()))


def _write_weights(weights: Path | Mapping[str, Tensor], file: Path) -> None:
    if isinstance(weights, Path):
        shutil.copyfile(weights, file)
    else:
        save_file(
            {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in weights.items()
            },
            file,
        )


def load_members(path: str | Path) -> list[nn.Module]:
    """The members of a bundle, or of a model that MLflow downloaded, as torch modules in eval mode."""
    folder = _bundle(Path(path))
    meta = json.loads((folder / "meta.json").read_text())
    return [_load(folder, meta, entry) for entry in _entries(folder)]


def _load(folder: Path, meta: Mapping[str, Any], entry: Mapping[str, Any]) -> nn.Module:
    model = build(entry["config"]["model"], meta)
    model.load_state_dict(load_file(folder / entry["file"]))
    return model.eval()


def _bundle(path: Path) -> Path:
    """A logged model has its bundle somewhere below."""
    found = next(path.rglob("bundle.json"), None)
    if found is None:
        raise UserError(f"{path} holds no bundle.json, so it is no model of this project.")
    return found.parent


def _entries(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "bundle.json").read_text())["members"])


class Ensemble:
    """What `mlflow.pyfunc.load_model` returns inside its wrapper."""

    def __init__(self, path: Path) -> None:
        self._folder = _bundle(path)
        self._meta = json.loads((self._folder / "meta.json").read_text())
        self._members = load_members(self._folder)
        weights = np.array([entry["weight"] for entry in _entries(self._folder)])
        self._weights = weights / weights.sum()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """A DataFrame with the column `prediction`, and for classes `p_<class>`, of raw rows.

        Rows are a DataFrame with the columns that meta.json names, or an array [N, ...] of images.
        """
        import pandas as pd

        raw = model_input if hasattr(model_input, "iloc") else np.asarray(model_input)
        y = self.outputs(transform(self._folder, raw))
        if self._meta["task"] == "regression":
            return pd.DataFrame({"prediction": y})
        names = list(self._meta["class_names"])
        probabilities = {f"p_{name}": y[:, column] for column, name in enumerate(names)}
        return pd.DataFrame({"prediction": np.array(names)[y.argmax(axis=1)], **probabilities})

    @torch.no_grad()
    def outputs(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """The members' weighted mean: probabilities [N, C], or values [N] in the target's unit."""
        chunks = [torch.from_numpy(x[start : start + _ROWS]) for start in range(0, max(len(x), 1), _ROWS)]
        means = [
            sum(w * self._output(member(chunk)) for w, member in zip(self._weights, self._members, strict=True))
            for chunk in chunks
        ]
        return np.asarray(torch.cat(means).numpy())

    def _output(self, y: Tensor) -> Tensor:
        if self._meta["task"] == "regression":
            values: Tensor = y.double().flatten() * self._meta["target_std"] + self._meta["target_mean"]
            return values
        return torch.softmax(y.double(), dim=-1)


def _load_pyfunc(data_path: str) -> Ensemble:
    return Ensemble(Path(data_path))
