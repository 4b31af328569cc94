"""Prepared data: six arrays, the transformer that made them, and what a model must know of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from src.system.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


PARTS = ("train", "val", "test")
ARRAYS = tuple(f"{axis}_{part}.npy" for part in PARTS for axis in "xy")


@dataclass(frozen=True)
class Dataset:
    """What training may see. x: [N, F] or [N, C, H, W] float32; y: [N] int64 classes or standardised float32."""

    meta: dict[str, Any]
    x_train: NDArray[np.float32]
    y_train: NDArray[Any]
    x_val: NDArray[np.float32]
    y_val: NDArray[Any]


def encode(transformer: Any, x: Any) -> NDArray[np.float32]:
    if hasattr(x, "iloc"):
        return np.asarray(transformer.transform(x), np.float32)
    return np.asarray(transformer.transform(x.reshape(-1, 1).astype(np.float32)), np.float32).reshape(x.shape)


def load(folder: Path, verify: bool = False) -> Dataset:
    """Training and validation rows, memory-mapped; `verify` reads all six arrays and compares their digest."""
    meta = read_meta(folder)
    if verify and digest(folder) != meta["sha256"]:
        raise UserError(f"the arrays in {folder} are not those of its meta.json: run prepare again")
    x_train, y_train, x_val, y_val = (_array(folder, name) for name in ARRAYS[:4])
    if meta["task"] == "regression":
        mean, std = np.float32(meta["target_mean"]), np.float32(meta["target_std"])
        y_train, y_val = (y_train - mean) / std, (y_val - mean) / std
    return Dataset(meta, x_train, y_train, x_val, y_val)


def val_targets(folder: Path) -> NDArray[Any]:
    """The validation targets in their own units."""
    return _array(folder, "y_val.npy")


def train_targets(folder: Path) -> NDArray[Any]:
    """The training targets in their own units."""
    return _array(folder, "y_train.npy")


def load_test(folder: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """x_test and y_test, the latter in raw units: only the last stage may look at them."""
    return _array(folder, "x_test.npy"), _array(folder, "y_test.npy")


def transform(folder: Path, raw: Any) -> NDArray[np.float32]:
    """x for raw rows: a DataFrame with the columns of meta.json, or images [N, C, H, W] in raw values."""
    from src.data.tables import conform

    meta = read_meta(folder)
    path = folder / "preprocessing.skops"
    if meta["columns"]:
        raw = conform(raw, meta["columns"])
    elif np.shape(raw)[1:] != tuple(meta["input_shape"]):
        raise UserError(f"the images have the shape {list(np.shape(raw))}, [N, *{meta['input_shape']}] is expected")
    return encode(_transformer(path, path.stat().st_mtime_ns), raw)


def raw_example(folder: Path) -> pd.DataFrame | NDArray[Any]:
    """A few raw training rows, as `transform` takes them; example.json has them as a request to a served model."""
    import pandas as pd

    from src.data.tables import conform

    payload = json.loads((folder / "example.json").read_text())
    if "inputs" in payload:
        return np.array(payload["inputs"], np.uint8)
    return conform(pd.DataFrame(**payload["dataframe_split"]), read_meta(folder)["columns"])


def digest(folder: Path) -> str:
    """SHA-256 over the six array files."""
    total = hashlib.sha256()
    for name in ARRAYS:
        with (folder / name).open("rb") as file:
            total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def read_meta(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "meta.json").read_text()))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} holds no prepared data: run prepare first") from None
    except ValueError:
        raise UserError(f"{folder}/meta.json is not whole: run prepare again") from None


def _array(folder: Path, name: str) -> NDArray[Any]:
    try:
        return np.asanyarray(np.load(folder / name, mmap_mode="c"))
    except (OSError, ValueError):
        raise UserError(f"{folder / name} is missing or not whole: run prepare again") from None


@lru_cache(maxsize=8)
def _transformer(path: Path, modified_ns: int) -> Any:
    from src.data.preprocessing import loads

    return loads(path.read_bytes(), path)
