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
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, QuantileTransformer, RobustScaler, StandardScaler

from src.data.bin_edges import Edges, bin_edges
from src.data.columns import MISSING, STRICT, Reading, Refusal, conform, feature_names, with_zeros
from src.data.inference import Hints, infer
from src.data.raw import Column, ProfileLine
from src.system.errors import UserError

Scaling = Literal["quantile", "standard", "robust"]


class Preprocessor(Protocol):
    """A transformer fitted on the training rows, and the properties of its outcome that a model must know."""

    @property
    def transformer(self) -> Any:
        """The fitted transformer of scikit-learn."""

    @property
    def columns(self) -> list[Column]:
        """The input columns of a table, in the order of the file; none for images."""

    @property
    def profile(self) -> list[ProfileLine]:
        """A line for each column that was looked at; none for images."""

    @property
    def categories(self) -> list[int]:
        """The number of categories of each column of indices, which are the last ones of x; none for images."""

    def transform(self, raw: Any, refusal: Refusal = STRICT) -> NDArray[np.float32]:
        """Turn raw rows into the inputs of a model: [N, F] or [N, C, H, W]; `refusal` of cells that cannot be read.

        Raises:
            UserError: a column, a cell or the shape is wrong.
        """

    def edges(self, x: NDArray[np.float32], y: NDArray[Any]) -> Edges:
        """Compute edges of bins of every numeric column, by kind, from the training rows `x` [N, F] and `y` [N]."""

    def request(self, raw: Any) -> dict[str, Any]:
        """Write raw rows as a request to MLflow's scoring server."""

    def rows(self, request: Mapping[str, Any]) -> Any:
        """Read the raw rows of a request."""


class TablePreprocessor:
    """Tables: numeric columns scaled, missing values as the median; then text columns as indices of categories."""

    def __init__(self, columns: Sequence[Column], transformer: Any, profile: Sequence[ProfileLine] = ()) -> None:
        """Put together the input `columns`, the fitted `transformer` and the `profile` of the training rows."""
        self.columns, self.transformer, self.profile = list(columns), transformer, list(profile)

    @classmethod
    def fit(cls, train: pd.DataFrame, hints: Hints, scaling: Scaling, seed: int) -> Self:
        """Fit on training rows.

        Args:
            train: raw training rows, as they are in the file.
            hints: what the config says of columns; the rest is inferred.
            scaling: `quantile` gives each numeric column a normal distribution, the usual choice for tabular networks;
                `standard` mean 0 and standard deviation 1; `robust` median 0 and interquartile range 1, then a smooth clip
                (RealMLP, Holzmüller et al. 2024).
            seed: of the jitter of `quantile`.
        """
        columns, profile = infer(train, hints)
        train = conform(train, columns)
        numeric, text = feature_names(columns)
        parts = []
        if numeric:
            impute = SimpleImputer(strategy="median", keep_empty_features=True)
            if scaling == "quantile":
                train = pd.concat([_jittered(train[numeric], seed), train[text]], axis="columns")
                scalers = [RobustScaler(), _quantile_transformer(len(train), seed)]
            elif scaling == "robust":
                scalers = [RobustScaler(), FunctionTransformer(smooth_clip)]
            else:
                scalers = [StandardScaler()]
            parts.append(("numeric", make_pipeline(impute, *scalers), numeric))
        if text:
            parts.append(("text", _category_encoder(train[text]), text))
        fitted = ColumnTransformer(parts).fit(train)
        if numeric and scaling == "robust":
            _spread_where_quartiles_agree(fitted.named_transformers_["numeric"], train[numeric])
        return cls(columns, fitted, profile)

    @property
    def categories(self) -> list[int]:
        """Count the categories of each column of words, with the index 0 for a missing or an unknown one."""
        return [len(names) for names in self._category_names]

    @property
    def _category_names(self) -> list[NDArray[np.object_]]:
        if "text" not in self.transformer.named_transformers_:
            return []
        return list(self.transformer.named_transformers_["text"][0].categories_)

    def transform(self, raw: pd.DataFrame, refusal: Refusal = STRICT) -> NDArray[np.float32]:
        """Read raw rows and scale them: [N, F]; `refusal` of cells that cannot be read.

        Raises:
            UserError: a cell cannot be read, or a number stands for two codes.
        """
        frame = conform(raw, self.columns, refusal)
        for name, categories in zip(feature_names(self.columns)[1], self._category_names, strict=True):
            if name in raw and raw[name].dtype.kind in "iuf":
                frame[name] = with_zeros(frame[name], categories)
            refusal.note_unknown(name, frame[name], categories)
        return np.asarray(self.transformer.transform(frame), np.float32)

    def edges(self, x: NDArray[np.float32], y: NDArray[Any]) -> Edges:
        """Compute edges of bins of every numeric column, by kind, from the training rows `x` [N, F] and `y` [N]."""
        return bin_edges(x[:, : x.shape[1] - len(self.categories)], y)

    def request(self, raw: pd.DataFrame) -> dict[str, Any]:
        """Write raw rows as a request of a DataFrame."""
        cells = [_as_sent(raw[column["name"]], column) for column in self.columns]
        names = [column["name"] for column in self.columns]
        return {"dataframe_split": {"columns": names, "data": [list(row) for row in zip(*cells, strict=True)]}}

    def rows(self, request: Mapping[str, Any]) -> pd.DataFrame:
        """Read the raw rows of a request of a DataFrame."""
        frame = pd.DataFrame(**request["dataframe_split"])
        plain = [column for column in self.columns if "reading" not in column]
        return frame.assign(**conform(frame, plain)) if plain else frame


class ImagePreprocessor:
    """Images [N, C, H, W] in raw values: all pixels shifted to mean 0 and scaled to standard deviation 1."""

    def __init__(self, shape: Sequence[int], transformer: Any) -> None:
        """Put together the `shape` [C, H, W] of an image and the fitted `transformer`."""
        self.shape, self.transformer = tuple(shape), transformer
        self.categories: list[int] = []
        self.columns: list[Column] = []
        self.profile: list[ProfileLine] = []

    @classmethod
    def fit(cls, train: NDArray[np.uint8]) -> Self:
        """Fit one exact mean and deviation of all pixels of `train`, from how often each of the 256 values occurs."""
        chunks = np.array_split(train, len(train) // 4096 + 1)
        counts = sum(np.bincount(chunk.ravel(), minlength=256) for chunk in chunks)
        return cls(train.shape[1:], StandardScaler().fit(np.arange(256.0)[:, None], sample_weight=counts))

    def transform(self, raw: ArrayLike, refusal: Refusal = STRICT) -> NDArray[np.float32]:
        """Scale images [N, C, H, W] in raw values; `refusal` is for tables.

        Raises:
            UserError: they have another shape.
        """
        images = np.asarray(raw)
        if images.shape[1:] != self.shape:
            raise UserError(
                f"the images have the shape {list(images.shape)}, [N, {', '.join(map(str, self.shape))}] is expected"
            )
        pixels = images.reshape(-1, 1).astype(np.float32)
        return np.asarray(self.transformer.transform(pixels), np.float32).reshape(images.shape)

    def edges(self, x: NDArray[np.float32], y: NDArray[Any]) -> Edges:
        """Return no edges: pixels have no bins."""
        return {}

    def request(self, raw: NDArray[np.uint8]) -> dict[str, Any]:
        """Write images as a request."""
        return {"inputs": raw}

    def rows(self, request: Mapping[str, Any]) -> NDArray[np.uint8]:
        """Read the images of a request."""
        return np.array(request["inputs"], np.uint8)


def _as_sent(cells: pd.Series[Any], column: Column) -> list[Any]:
    """List cells as a caller sends them: numbers and words, null for what is missing; text as it is where it is read."""
    if "reading" not in column:
        values = conform(cells.to_frame(), [column])[column["name"]]
        return [None if value == MISSING or value != value else value for value in values.tolist()]
    if Reading.of(column).kind == "number" and column["dtype"] == "double":
        values = conform(cells.to_frame(), [column])[column["name"]]
        return [None if value != value else value for value in values.tolist()]
    return [None if pd.isna(cell) else str(cell) for cell in cells]


def smooth_clip(x_NF: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bend x to within 3 of 0: x / √(1 + (x/3)²). A stored transformer names it."""
    return np.asarray(x_NF / np.sqrt(1 + (x_NF / 3) ** 2))


def _spread_where_quartiles_agree(pipeline: Any, train: pd.DataFrame) -> None:
    """Scale columns whose quartiles are equal by half of their range, as RealMLP does."""
    impute, scaler = pipeline[0], pipeline[1]
    x_NF = impute.transform(train)
    quartiles = np.quantile(x_NF, [0.25, 0.75], axis=0)
    half_range = (x_NF.max(0) - x_NF.min(0)) / 2
    scaler.scale_ = np.where((quartiles[0] == quartiles[1]) & (half_range > 0), half_range, scaler.scale_)


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
