"""The model that MLflow loads and serves: raw rows in, a table of predictions out."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.data.dataset import preprocessor
from src.models.building import VALUES
from src.population.prediction_chunks import rows_at_once
from src.serving.bundle import read_bundle
from src.serving.fused_nets import Fused
from src.system.errors import UserError

_ROWS = 4096  # predicted at a time, at most


def _signature(model: Mapping[str, Any]) -> str:
    """A text that is equal for nets that differ in their tensors alone, apart from what only training looks at."""
    return json.dumps({k: v for k, v in model.items() if k not in VALUES or "_target_" in model}, sort_keys=True)


class Ensemble:
    """The ensemble of a bundle, as `mlflow.pyfunc.load_model` returns it inside its wrapper. Any thread may ask it."""

    def __init__(self, path: Path) -> None:
        """Load the bundle at `path` or below.

        Raises:
            UserError: there is none, or a later version wrote it.
        """
        bundle = read_bundle(path)
        self._preprocessor, self._meta, self._module = preprocessor(bundle.folder), bundle.meta, bundle.module()
        signatures = [_signature(model) for model in bundle.models]
        shape = self._meta.input_shape
        self._nets = Fused(list(self._module.nets), signatures, shape)
        self._rows = rows_at_once(self._module, shape, _ROWS)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Predict raw rows: a DataFrame with the column `prediction`, and for classes `p_<class>`.

        `model_input` is a DataFrame with the columns that meta.json names, or an array [N, ...] of images; `params` is of
        MLflow's protocol and has no meaning here.

        Raises:
            BadRows: a column, a cell or the shape is wrong.
        """
        import pandas as pd

        y = self.outputs(self._prepared(self._raw(model_input)))
        if not self._meta.classification:
            return pd.DataFrame({"prediction": y})
        names = list(self._meta.class_names)
        labels = np.array(self._meta.class_values or names)  # of the type that they have in the data
        probabilities = {f"p_{name}": y[:, column] for column, name in enumerate(names)}
        return pd.DataFrame({"prediction": labels[y.argmax(axis=1)], **probabilities})

    def _raw(self, model_input: Any) -> Any:
        """Return the rows of a request: a DataFrame where the model is of tables, else an array."""
        import pandas as pd

        from src.tracking.bad_rows import BadRows

        if not self._meta.columns:
            return np.asarray(model_input)
        try:
            frame = model_input if hasattr(model_input, "iloc") else pd.DataFrame(model_input)
        except (ValueError, TypeError, AttributeError) as error:
            names = ", ".join(column["name"] for column in self._meta.columns)
            raise BadRows(f"the rows are no table: send one with the columns {names}") from error
        if not all(isinstance(name, str | int) for name in frame.columns):
            raise ValueError("names of columns are texts")  # no BadRows, into whose sentence MLflow would put the rows
        return frame

    def _prepared(self, raw: Any) -> NDArray[np.float32]:
        """Raw rows as inputs of the nets."""
        if len(raw) == 0:
            return np.zeros((0, *self._meta.input_shape), np.float32)
        try:
            return self._preprocessor.transform(raw)
        except UserError as error:
            from src.tracking.bad_rows import BadRows

            sentence = re.sub(r" \(data\.[^)]*\)", "", str(error))  # advice to who prepares data, not to who asks
            raise BadRows(f"{sentence}; correct it and send the rows again") from error

    @torch.no_grad()
    def outputs(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict prepared rows x [N, ...]: probabilities [N, C], or values [N] in the target's unit."""
        starts = range(0, max(len(x), 1), self._rows)
        chunks = [torch.from_numpy(x[start : start + self._rows]) for start in starts]
        return np.asarray(torch.cat([self._module.combine(self._nets(chunk)) for chunk in chunks]).numpy())
