"""NEEDS A DOCSTRING."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.data.dataset import transform
from src.serving.bundle import load_product, read_entries
from src.serving.fused_nets import Fused

_ROWS = 4096  # predicted at a time


def _signature(model: Mapping[str, Any]) -> str:
    """Nets of equal signature differ in their tensors alone: dropout does nothing in a prediction by a model of ours."""
    return json.dumps({k: v for k, v in model.items() if k != "dropout" or "_target_" in model}, sort_keys=True)


class Ensemble:
    """What `mlflow.pyfunc.load_model` returns inside its wrapper."""

    def __init__(self, path: Path) -> None:
        self._folder, self._meta, entries = read_entries(path)
        self._product = load_product(self._folder)
        signatures = [_signature(e["config"]["model"]) for e in entries for _ in e.get("parts", [e])]
        self._nets = Fused(list(self._product.nets), signatures, tuple(self._meta["input_shape"]))

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
        """What the members come to: probabilities [N, C], or values [N] in the target's unit."""
        chunks = [torch.from_numpy(x[start : start + _ROWS]) for start in range(0, max(len(x), 1), _ROWS)]
        return np.asarray(torch.cat([self._product.join(self._nets(chunk)) for chunk in chunks]).numpy())
