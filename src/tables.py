"""Tables: read without guessing, checked cell by cell, and turned into numbers by what the training rows say."""

from __future__ import annotations

import difflib
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, QuantileTransformer, RobustScaler, StandardScaler

from src.errors import UserError

Scaling = Literal["quantile", "standard"]
MISSING = ""  # of a text column; its category has the index 0
TRUSTED = ["numpy.dtype"]  # beside scikit-learn's own types, which skops trusts by itself


class Column(TypedDict):
    """A column that a model is given at inference, its type in MLflow's words."""

    name: str
    dtype: Literal["double", "string"]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A tail for an error message: the nearest name, or the first of them when none is near."""
    near = difflib.get_close_matches(name, options := list(names), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(options[:20])}"


# Reading


def read_frame(
    path: Path,
    *,
    separator: str = ",",
    encoding: str = "utf-8-sig",
    na_values: Sequence[str] = (),
    comment: str | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Every cell of a text table as str or NaN; `columns` names those of a file that may lack a header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            cells = pd.read_csv(
                path,
                sep=separator,
                encoding=encoding,
                na_values=list(na_values),
                comment=comment,
                header=None,
                dtype=str,
                skipinitialspace=True,
            )
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty: a header and rows are expected") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {encoding} text ({error.reason}): set data.encoding, e.g. latin-1") from None
    except LookupError:
        raise UserError(f"data.encoding={encoding!r} is not an encoding that Python knows, e.g. utf-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(f"{path} is not a whole gzip file: fetch it again") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path} is not a table: {str(error).strip().split('C error: ')[-1]}") from None
    cells = pd.DataFrame({name: column.str.strip() for name, column in cells.items()})
    first = cells.iloc[0].tolist()
    if columns is None or first == list(columns):
        cells, names = cells.iloc[1:].reset_index(drop=True), first
    else:
        names = list(columns)
    _check_names(names, cells.shape[1], path)
    if cells.empty:
        raise UserError(f"{path} has a header but no rows")
    return cells.set_axis(names, axis="columns")


def _check_names(names: Sequence[Any], width: int, path: Path) -> None:
    if len(names) != width:
        raise UserError(f"data.columns names {len(names)} columns, but {path} has {width}")
    blank = [number for number, name in enumerate(names, 1) if not isinstance(name, str) or not name]
    if blank:
        raise UserError(f"{path}: column {blank[0]} has no name in the header: name it, or save without the row index")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise UserError(f"{path}: the header has the column {repeated[0]!r} more than once: names must differ")


def check_same_columns(train: pd.DataFrame, test: pd.DataFrame, train_path: Path, test_path: Path) -> None:
    for here, there, path, other in (
        (train.columns, test.columns, test_path, train_path),
        (test.columns, train.columns, train_path, test_path),
    ):
        absent = [name for name in here if name not in there]
        if absent:
            raise UserError(f"{path} lacks the column {absent[0]!r} that {other} has: both must have the same columns")


def row_name(frame: pd.DataFrame | pd.Series[Any], position: int) -> str:
    """How a person finds the row: rows of files are indexed by (file name, row number)."""
    label = frame.index[position]
    return f"data row {label[1] + 1} of {label[0]}" if isinstance(label, tuple) else f"row {position + 1}"


# Checking


def infer_columns(frame: pd.DataFrame, categorical: Sequence[str] | None) -> list[Column]:
    """A column is text when `categorical` names it or most of its distinct values are not numbers.

    A few words among many numbers are a mistake in the data, not a category: `conform` names the first.
    """
    for name in categorical or ():
        if name not in frame.columns:
            raise UserError(f"data.categorical names {name!r}, no input column: {did_you_mean(name, frame.columns)}")
    return [
        {"name": name, "dtype": "string" if name in (categorical or ()) or _mostly_text(frame[name]) else "double"}
        for name in frame.columns
    ]


def _mostly_text(cells: pd.Series[Any]) -> bool:
    distinct = pd.Series(cells.dropna().unique())
    return bool(2 * pd.to_numeric(distinct, errors="coerce").isna().sum() > len(distinct))


def conform(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The given columns in order: float64 with NaN, or str objects with MISSING; any other cell is refused."""
    absent = [column["name"] for column in columns if column["name"] not in frame.columns]
    if absent:
        raise UserError(f"the column {absent[0]!r} is missing: {did_you_mean(absent[0], map(str, frame.columns))}")
    return pd.DataFrame(
        {
            column["name"]: (numbers if column["dtype"] == "double" else texts)(frame[column["name"]])
            for column in columns
        }
    )


def numbers(cells: pd.Series[Any]) -> pd.Series[Any]:
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    wrong = (values.isna() & cells.notna()).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise UserError(
            f"column {cells.name!r}, {row_name(cells, at)}: {cells.iloc[at]!r} is not a number "
            "(data.na_values lists the words for a missing one, data.categorical the columns of categories)"
        )
    infinite = np.isinf(values.to_numpy())
    if infinite.any():
        at = int(infinite.argmax())
        raise UserError(f"column {cells.name!r}, {row_name(cells, at)}: the value is infinite: it must be finite")
    return values


def texts(cells: pd.Series[Any]) -> pd.Series[Any]:
    codes, distinct = pd.factorize(cells)  # code -1: missing
    words = np.array([*(_word(value) for value in distinct), MISSING], dtype=object)
    return pd.Series(words[codes], index=cells.index, dtype=object)


def _word(value: Any) -> str:
    """A code 5 that became 5.0 beside a missing one, in memory or in a file, is "5" again."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


# The target


def check_target(labels: pd.Series[Any]) -> None:
    absent = labels.isna().to_numpy()
    if absent.any():
        at = int(absent.argmax())
        raise UserError(f"the target {labels.name!r} has no value in {row_name(labels, at)}: fill it or drop the row")


def class_names(labels: pd.Series[Any]) -> list[str]:
    """In numeric order when all labels are numbers, else in that of their letters."""
    found = sorted(set(labels))
    return found if pd.to_numeric(pd.Series(found), errors="coerce").isna().any() else sorted(found, key=float)


def class_indices(labels: pd.Series[Any], names: Sequence[str]) -> NDArray[np.int64]:
    indices = pd.Index(names).get_indexer(pd.Index(labels)).astype(np.int64)
    if (indices < 0).any():
        at = int((indices < 0).argmax())
        raise UserError(
            f"the target {labels.name!r} is {labels.iloc[at]!r} in {row_name(labels, at)}, "
            f"a label that no training row has: {did_you_mean(labels.iloc[at], names)}"
        )
    return indices


# Fitting


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
