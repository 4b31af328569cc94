"""The transformer of raw columns to numbers, fitted on the training rows, and how it is stored."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, QuantileTransformer, RobustScaler, StandardScaler

from src.data.raw import Column
from src.data.tables import MISSING
from src.system.errors import UserError

Scaling = Literal["quantile", "standard"]
TRUSTED = ["numpy.dtype"]  # beside scikit-learn's own types, which skops trusts by itself


def fit(train: pd.DataFrame, columns: Sequence[Column], scaling: Scaling, seed: int) -> ColumnTransformer:
    """Raw columns → [N, F]: the numeric ones scaled, missing ones as the median; then text ones as indices.

    `quantile` gives each numeric column a normal distribution, the usual choice for tabular networks.
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
        categories = [
            np.array([MISSING, *sorted(set(train[name].unique()) - {MISSING})], dtype=object) for name in text
        ]
        encode = OrdinalEncoder(categories=categories, handle_unknown="use_encoded_value", unknown_value=np.nan)
        unseen = SimpleImputer(strategy="constant", fill_value=0, keep_empty_features=True)
        parts.append(("text", make_pipeline(encode, unseen), text))
    return ColumnTransformer(parts).fit(train)


def _quantile_transformer(n_rows: int, seed: int) -> QuantileTransformer:
    """With the number of quantiles of TabM (Gorishniy et al. 2025): about 30 rows each."""
    n_quantiles = min(n_rows, max(10, min(1000, n_rows // 30)))
    return QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal", subsample=None, random_state=seed)


def _jittered(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Numbers moved by about 1e-5 of their spread.

    Without it, a value that many rows share is sent to the end of the scale when it is the smallest (five standard
    deviations away from the rest, for the zeros of a column that is mostly zero), with it to its middle rank.
    """
    noise = np.random.default_rng(seed).standard_normal(frame.shape)
    spread = (frame.quantile(0.75) - frame.quantile(0.25)).replace(0, np.nan)
    spread = spread.fillna(frame.std(ddof=0).replace(0, np.nan)).fillna(1.0)
    return frame.add(1e-5 * noise * spread.to_numpy())


def cardinalities(transformer: ColumnTransformer) -> list[int]:
    """Of each text column, with the index 0 for what is missing or was not seen in training."""
    if "text" not in transformer.named_transformers_:
        return []
    return [len(names) for names in transformer.named_transformers_["text"][0].categories_]


def quantile_bins(x: NDArray[np.float32], n_bins: int = 48) -> list[list[float]]:
    """Edges of each column as of rtdl_num_embeddings.compute_bins, which refuses constant columns and few rows."""
    quantiles = np.quantile(x, np.linspace(0, 1, n_bins + 1), axis=0).astype(np.float32)
    edges = [np.unique(column) for column in quantiles.T]
    return [(column if len(column) > 1 else column[0] + np.arange(2, dtype=np.float32)).tolist() for column in edges]


# Keeping what was fitted


def dumps(transformer: Any) -> bytes:
    """skops' format with running numbers for its object ids and no time of day: the same object, the same bytes."""
    import skops.io

    source = zipfile.ZipFile(io.BytesIO(skops.io.dumps(transformer)))
    pattern = re.compile(r'("__id__": |"file": ")(\d+)')
    schema = source.read("schema.json").decode()
    ids = {old: str(new) for new, old in enumerate(dict.fromkeys(match[2] for match in pattern.finditer(schema)))}
    files = {f"{ids[name.split('.')[0]]}.npy": source.read(name) for name in source.namelist() if name[0].isdigit()}
    files["schema.json"] = pattern.sub(lambda match: match[1] + ids[match[2]], schema).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in sorted(files.items()):
            target.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def loads(data: bytes, place: Path) -> Any:
    """Refuses a file that would build anything but scikit-learn's own types and TRUSTED."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.loads(data, trusted=TRUSTED)
    except UntrustedTypesFoundException as error:
        raise UserError(f"{place} is refused, since it would build types that are not trusted: {error}") from None
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{place} is not a whole skops file ({error}): run prepare again") from None
