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

from src.data.splitting import PARTS
from src.system.checksums import read_checked
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.read_back import intact, read_json

if TYPE_CHECKING:
    from src.data.preprocessing import Preprocessor


AGAIN = "run prepare again"
ARRAYS = tuple(f"{axis}_{part}.npy" for part in PARTS for axis in "xy")
BESIDE = ("meta.json", "preprocessing.skops", "example.json")  # the files beside the arrays


@dataclass(frozen=True)
class Dataset:
    """Rows that training may see.

    Args:
        meta: what `meta.json` says.
        x_train: training inputs, [N, F] or [N, C, H, W].
        y_train: training targets [N]: int64 classes, or standardised float32 values.
        x_val: validation inputs.
        y_val: validation targets.
    """

    meta: DataMeta
    x_train: NDArray[np.float32]
    y_train: NDArray[Any]
    x_val: NDArray[np.float32]
    y_val: NDArray[Any]


def load(folder: Path) -> Dataset:
    """Open the training and validation rows, memory-mapped.

    Raises:
        UserError: the folder is missing or not whole.
    """
    meta = read_meta(folder)
    x_train, y_train, x_val, y_val = (_array(folder, name) for name in ARRAYS[:4])
    if not meta.classification:
        y_train, y_val = (standardise(y, meta) for y in (y_train, y_val))
    return Dataset(meta, x_train, y_train, x_val, y_val)


def standardise(y: NDArray[Any], meta: DataMeta) -> NDArray[np.float32]:
    """Shift and scale targets [N] by mean and deviation of the training rows, in the precision that they are stored in."""
    mean, std = (y.dtype.type(value) for value in (meta.target_mean, meta.target_std))
    return np.asarray((y - mean) / std, np.float32)


def verify(folder: Path) -> None:
    """Compare each file with the digest that `prepare` wrote of it, once a process for the same files.

    Raises:
        UserError: one is missing, or is not as `prepare` wrote it.
    """
    paths = [folder / name for name in (*ARRAYS, *BESIDE)]
    try:
        stamps = tuple((stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in (path.stat() for path in paths))
        whole = _is_whole(folder, stamps)
    except OSError:
        raise UserError(f"{folder} lacks some of its files: run prepare again") from None
    if not whole:
        raise UserError(f"the arrays in {folder} are not those of its meta.json: run prepare again")


@lru_cache(maxsize=8)
def _is_whole(folder: Path, stamps: tuple[tuple[int, int, int], ...]) -> bool:
    for name in BESIDE:
        read_checked(folder / name, AGAIN)
    return digest(folder) == read_meta(folder).sha256


def val_targets(folder: Path) -> NDArray[Any]:
    """Open the validation targets [N] in their own unit."""
    return _array(folder, "y_val.npy")


def train_targets(folder: Path) -> NDArray[Any]:
    """Open the training targets [N] in their own unit."""
    return _array(folder, "y_train.npy")


def load_test(folder: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Open x_test and y_test, the latter in its own unit: only the last stage may look at them."""
    return _array(folder, "x_test.npy"), _array(folder, "y_test.npy")


def transform(folder: Path, raw: Any) -> NDArray[np.float32]:
    """Turn raw rows into the inputs of a model.

    Args:
        folder: prepared data, or the bundle of a model.
        raw: a DataFrame with the columns of `meta.json`, or images [N, C, H, W] in raw values.

    Raises:
        UserError: a column, a cell or the shape is wrong.
    """
    return preprocessor(folder).transform(raw)


def raw_example(folder: Path) -> Any:
    """Read a few raw training rows, as `transform` takes them; `example.json` has them as a request to a served model."""
    path = folder / "example.json"
    with intact(path, AGAIN):
        return preprocessor(folder).rows(read_json(path, AGAIN))


def digest(folder: Path) -> str:
    """Compute the SHA-256 over the six array files."""
    total = hashlib.sha256()
    for name in ARRAYS:
        with (folder / name).open("rb") as file:
            total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def read_meta(folder: Path) -> DataMeta:
    """Read `meta.json`.

    Raises:
        UserError: it is missing, has changed, is not whole, or an earlier version wrote it.
    """
    if not (folder / "meta.json").exists():
        raise UserError(f"{folder} holds no prepared data: run prepare first")
    try:
        return DataMeta.from_json(json.loads(read_checked(folder / "meta.json", AGAIN)))
    except ValueError:
        raise UserError(f"{folder}/meta.json is not whole: run prepare again") from None


def _array(folder: Path, name: str) -> NDArray[Any]:
    try:
        return np.asanyarray(np.load(folder / name, mmap_mode="c"))
    except (OSError, ValueError):
        raise UserError(f"{folder / name} is missing or not whole: run prepare again") from None


def preprocessor(folder: Path) -> Preprocessor:
    """Put together the preprocessor of a folder: a table's where `meta.json` names columns, else that of images.

    Raises:
        UserError: one of its files is damaged.
    """
    from src.data.preprocessing import ImagePreprocessor, TablePreprocessor

    meta, path = read_meta(folder), folder / "preprocessing.skops"
    with intact(path, AGAIN):
        transformer = _transformer(path, path.stat().st_mtime_ns)
    if meta.columns:
        return TablePreprocessor(meta.columns, transformer)
    return ImagePreprocessor(meta.input_shape, transformer)


@lru_cache(maxsize=8)
def _transformer(path: Path, modified_ns: int) -> Any:
    from src.data.transformer_file import loads

    return loads(read_checked(path, AGAIN), path)
