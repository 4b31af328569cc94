"""Preprocessors: raw rows → inputs of a model, fitted on the training rows alone.

There is one for tables and one for images, decided once, by the reader. Both wrap a transformer of scikit-learn, which
alone is stored (`preprocessing.skops`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, QuantileTransformer, RobustScaler, StandardScaler

from src.data.raw import Column
from src.data.tables import MISSING, conform
from src.system.errors import UserError

Scaling = Literal["quantile", "standard"]


class Preprocessor(Protocol):
    """What was fitted on the training rows, and what a model must know of its outcome."""

    @property
    def transformer(self) -> Any:
        """The fitted transformer of scikit-learn."""

    @property
    def categories(self) -> list[int]:
        """The number of categories of each column of indices, which are the last ones of x; none for images."""

    def transform(self, raw: Any) -> NDArray[np.float32]:
        """Turn raw rows into the inputs of a model: [N, F] or [N, C, H, W].

        Raises:
            UserError: a column, a cell or the shape is wrong.
        """

    def bins(self, x: NDArray[np.float32]) -> list[list[float]]:
        """Compute the edges of quantile bins of every numeric column of `x` [N, F]; none for images."""

    def request(self, raw: Any) -> dict[str, Any]:
        """Write raw rows as a request to MLflow's scoring server."""

    def rows(self, request: Mapping[str, Any]) -> Any:
        """Read the raw rows of a request."""


class TablePreprocessor:
    """Tables: numeric columns scaled, missing values as the median; then text columns as indices of categories."""

    def __init__(self, columns: Sequence[Column], transformer: Any) -> None:
        self.columns, self.transformer = list(columns), transformer

    @classmethod
    def fit(cls, train: pd.DataFrame, columns: Sequence[Column], scaling: Scaling, seed: int) -> Self:
        """Fit on training rows.

        Args:
            train: the conformed training rows, with the columns of `columns`.
            columns: the input columns and their types.
            scaling: `quantile` gives each numeric column a normal distribution, the usual choice for tabular networks;
                `standard` mean 0 and standard deviation 1.
            seed: of the jitter of `quantile`.
        """
        numeric = [column["name"] for column in columns if column["dtype"] == "double"]
        text = [column["name"] for column in columns if column["dtype"] == "string"]
        parts = []
        if numeric:
            impute = SimpleImputer(strategy="median", keep_empty_features=True)
            if scaling == "quantile":
                train = pd.concat([_jittered(train[numeric], seed), train[text]], axis="columns")
                scalers = [RobustScaler(), _quantile_transformer(len(train), seed)]
            else:
                scalers = [StandardScaler()]
            parts.append(("numeric", make_pipeline(impute, *scalers), numeric))
        if text:
            parts.append(("text", _category_encoder(train[text]), text))
        return cls(columns, ColumnTransformer(parts).fit(train))

    @property
    def categories(self) -> list[int]:
        if "text" not in self.transformer.named_transformers_:
            return []
        return [len(names) for names in self.transformer.named_transformers_["text"][0].categories_]

    def transform(self, raw: pd.DataFrame) -> NDArray[np.float32]:
        return np.asarray(self.transformer.transform(conform(raw, self.columns)), np.float32)

    def bins(self, x: NDArray[np.float32]) -> list[list[float]]:
        return quantile_bins(x[:, : x.shape[1] - len(self.categories)])

    def request(self, raw: pd.DataFrame) -> dict[str, Any]:
        cells = raw.astype(object).where(raw != MISSING, None).to_numpy()
        return {"dataframe_split": {"columns": list(raw.columns), "data": cells}}

    def rows(self, request: Mapping[str, Any]) -> pd.DataFrame:
        return conform(pd.DataFrame(**request["dataframe_split"]), self.columns)


class ImagePreprocessor:
    """Images [N, C, H, W] in raw values: all pixels shifted to mean 0 and scaled to standard deviation 1."""

    categories: list[int] = []  # noqa: RUF012 (of a protocol's property)

    def __init__(self, shape: Sequence[int], transformer: Any) -> None:
        self.shape, self.transformer = tuple(shape), transformer

    @classmethod
    def fit(cls, train: NDArray[np.uint8]) -> Self:
        """Fit one exact mean and deviation of all pixels of `train`, from how often each of the 256 values occurs."""
        chunks = np.array_split(train, len(train) // 4096 + 1)
        counts = sum(np.bincount(chunk.ravel(), minlength=256) for chunk in chunks)
        return cls(train.shape[1:], StandardScaler().fit(np.arange(256.0)[:, None], sample_weight=counts))

    def transform(self, raw: ArrayLike) -> NDArray[np.float32]:
        images = np.asarray(raw)
        if images.shape[1:] != self.shape:
            raise UserError(f"the images have the shape {list(images.shape)}, {['N', *self.shape]} is expected")
        pixels = images.reshape(-1, 1).astype(np.float32)
        return np.asarray(self.transformer.transform(pixels), np.float32).reshape(images.shape)

    def bins(self, x: NDArray[np.float32]) -> list[list[float]]:
        return []

    def request(self, raw: NDArray[np.uint8]) -> dict[str, Any]:
        return {"inputs": raw}

    def rows(self, request: Mapping[str, Any]) -> NDArray[np.uint8]:
        return np.array(request["inputs"], np.uint8)


def _quantile_transformer(n_rows: int, seed: int) -> QuantileTransformer:
    """Make one with the number of quantiles of TabM (Gorishniy et al. 2025): about 30 rows each."""
    n_quantiles = min(n_rows, max(10, min(1000, n_rows // 30)))
    return QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal", subsample=None, random_state=seed)


def _jittered(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Move numbers by about 1e-5 of their spread.

    Without it, a value that many rows share is sent to the end of the scale when it is the smallest (five standard
    deviations away from the rest, for the zeros of a column that is mostly zero), with it to its middle rank.
    """
    noise = np.random.default_rng(seed).standard_normal(frame.shape)
    spread = (frame.quantile(0.75) - frame.quantile(0.25)).replace(0, np.nan)
    spread = spread.fillna(frame.std(ddof=0).replace(0, np.nan)).fillna(1.0)
    return frame.add(1e-5 * noise * spread.to_numpy())


def _category_encoder(train: pd.DataFrame) -> Any:
    """Make the encoder of text columns: index 0 is a missing word or one that no training row has."""
    categories = [
        np.array([MISSING, *sorted(set(cells.unique()) - {MISSING})], dtype=object) for _, cells in train.items()
    ]
    encode = OrdinalEncoder(categories=categories, handle_unknown="use_encoded_value", unknown_value=np.nan)
    return make_pipeline(encode, SimpleImputer(strategy="constant", fill_value=0, keep_empty_features=True))


def quantile_bins(x: NDArray[np.float32], n_bins: int = 48) -> list[list[float]]:
    """Compute the edges of quantile bins of each column of `x` [N, F].

    They are those of rtdl_num_embeddings.compute_bins, which refuses constant columns and few rows.
    """
    quantiles = np.quantile(x, np.linspace(0, 1, n_bins + 1), axis=0).astype(np.float32)
    edges = [np.unique(column) for column in quantiles.T]
    return [(column if len(column) > 1 else column[0] + np.arange(2, dtype=np.float32)).tolist() for column in edges]
