"""Prepared data: raw files → six arrays, the transformer that made them, and what a model must know of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError
from src.files import atomic_folder, write_bytes, write_json, write_npy
from src.raw import DataConfig, Raw, TableConfig

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DataConfig", "Dataset", "load", "load_test", "prepare", "raw_example", "split", "transform"]

PARTS = ("train", "val", "test")
ARRAYS = tuple(f"{axis}_{part}.npy" for part in PARTS for axis in "xy")
N_EXAMPLES = 5


@dataclass(frozen=True)
class Dataset:
    """What training may see. x: [N, F] or [N, C, H, W] float32; y: [N] int64 classes or standardised float32."""

    meta: dict[str, Any]
    x_train: NDArray[np.float32]
    y_train: NDArray[Any]
    x_val: NDArray[np.float32]
    y_val: NDArray[Any]


# Making


def prepare(data_cfg: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Read, split, fit on the training rows and write the folder `out` as a whole; returns what its meta.json says.

    The same files and config give the same bytes. UserError names the key, column or row that is wrong.
    """
    from src import tables

    cfg = DataConfig.parse(data_cfg)
    raw = cfg.read()
    rows = split(raw, cfg)
    train = _take(raw.x, rows["train"])
    if isinstance(cfg, TableConfig):
        transformer = tables.fit(train, raw.columns, cfg.scaling, cfg.seed)
        categories = tables.cardinalities(transformer)
    else:
        transformer, categories = fit_pixels(train), []
    mean, std = _moments(raw, rows["train"])
    with atomic_folder(out) as folder:
        for part in PARTS:
            write_npy(folder / f"x_{part}.npy", _encode(transformer, _take(raw.x, rows[part])))
            write_npy(folder / f"y_{part}.npy", raw.y[rows[part]])
        x_train = np.load(folder / "x_train.npy", mmap_mode="r")
        meta = {
            "name": cfg.name,
            "task": raw.task,
            **{f"n_{part}": len(rows[part]) for part in PARTS},
            "input_shape": x_train.shape[1:],
            "n_classes": len(raw.class_names),
            "class_names": raw.class_names,
            "sha256": digest(folder),
            "source": cfg.source,
            "categories": categories,
            "bins": tables.quantile_bins(x_train[:, : len(raw.columns) - len(categories)]) if raw.columns else [],
            "target_mean": mean,
            "target_std": std,
            "columns": raw.columns,
        }
        write_bytes(folder / "preprocessing.skops", tables.dumps(transformer))
        write_json(folder / "example.json", _payload(train[:N_EXAMPLES]))
        write_json(folder / "meta.json", meta)
    return _read_meta(out)


def split(raw: Raw, cfg: DataConfig) -> dict[str, NDArray[np.intp]]:
    """The rows of each part, in the order of the files: as the files say, else drawn, classes in their proportions.

    Fractions are of all rows that are no test rows by the files; `cfg.rows` keeps that many of the training rows.
    """
    from sklearn.model_selection import train_test_split

    rows = {part: np.flatnonzero(raw.part == part) for part in PARTS}
    pool = rows["train"]
    draws = {part: ceil(fraction * len(pool)) for part, fraction in _fractions(cfg).items() if not len(rows[part])}
    _check_pool(raw, pool, draws)
    for part, size in draws.items():
        classes = raw.y[rows["train"]] if raw.class_names else None
        try:
            train, drawn = train_test_split(rows["train"], test_size=size, random_state=cfg.seed, stratify=classes)
        except ValueError as error:  # too few of a class, or of all
            why = str(error).split(".")[0]
            raise UserError(
                f"data.{part}_fraction: {size} rows cannot be drawn, classes in proportion ({why})"
            ) from None
        rows |= {"train": np.sort(train), part: np.sort(drawn)}
    if cfg.rows is not None:
        if cfg.rows > len(rows["train"]):
            raise UserError(f"data.rows={cfg.rows}, but there are only {len(rows['train'])} training rows")
        rows["train"] = np.sort(np.random.default_rng(cfg.seed).permutation(rows["train"])[: cfg.rows])
    for part in ("train", *draws):
        absent = np.setdiff1d(np.arange(len(raw.class_names)), raw.y[rows[part]])
        if len(absent):
            raise UserError(
                f"no {part} row of class {raw.class_names[absent[0]]!r}, which is too rare for the split: drop it, "
                f"add rows, or raise data.{'rows' if part == 'train' else part + '_fraction'}"
            )
    return rows


def _fractions(cfg: DataConfig) -> dict[str, float]:
    return {"test": cfg.test_fraction or 0.0, "val": cfg.val_fraction}


def _check_pool(raw: Raw, pool: NDArray[np.intp], draws: Mapping[str, int]) -> None:
    for part, size in draws.items():
        if size == 0:
            raise UserError(f"data.{part}_fraction must be given: the files name no {part} rows")
        if size < len(raw.class_names):
            raise UserError(f"data.{part}_fraction gives {size} rows, fewer than the {len(raw.class_names)} classes")
    if len(pool) <= sum(draws.values()):
        raise UserError(f"{len(pool)} rows are too few: {sum(draws.values())} go to {' and '.join(draws)}")
    if raw.task == "regression":
        return
    if len(raw.class_names) < 2:
        raise UserError(f"the target has one class only, {raw.class_names[0]!r}: two are needed to tell apart")
    counts = np.bincount(raw.y[pool], minlength=len(raw.class_names))
    if counts.min() <= len(draws):
        raise UserError(
            f"class {raw.class_names[counts.argmin()]!r} has {counts.min()} rows: "
            f"with fewer than {len(draws) + 1} it cannot be in {', '.join(['train', *draws])}"
        )


def fit_pixels(images: NDArray[np.uint8]) -> Any:
    """One mean and standard deviation of all pixels, exact, from how often each of the 256 values occurs."""
    from sklearn.preprocessing import StandardScaler

    counts = sum(np.bincount(chunk.ravel(), minlength=256) for chunk in np.array_split(images, len(images) // 4096 + 1))
    return StandardScaler().fit(np.arange(256.0)[:, None], sample_weight=counts)


def _moments(raw: Raw, train: NDArray[np.intp]) -> tuple[float, float]:
    if raw.task == "classification":
        return 0.0, 1.0
    y = raw.y[train].astype(np.float64)
    if y.std() == 0:
        raise UserError(f"the target is {y[0]:g} in every training row: there is nothing to learn")
    return float(y.mean()), float(y.std())


def _take(x: Any, rows: NDArray[np.intp]) -> Any:
    return x.iloc[rows] if hasattr(x, "iloc") else x[rows]


def _encode(transformer: Any, x: Any) -> NDArray[np.float32]:
    if hasattr(x, "iloc"):
        return np.asarray(transformer.transform(x), np.float32)
    return np.asarray(transformer.transform(x.reshape(-1, 1).astype(np.float32)), np.float32).reshape(x.shape)


def _payload(x: Any) -> dict[str, Any]:
    """What MLflow's scoring server takes, with null for what is missing."""
    if not hasattr(x, "iloc"):
        return {"inputs": x}
    return {"dataframe_split": {"columns": list(x.columns), "data": x.astype(object).where(x != "", None).to_numpy()}}


# Using


def load(folder: Path, verify: bool = False) -> Dataset:
    """Training and validation rows, memory-mapped; `verify` reads all six arrays and compares their digest."""
    meta = _read_meta(folder)
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
    from src.tables import conform

    meta = _read_meta(folder)
    path = folder / "preprocessing.skops"
    if meta["columns"]:
        raw = conform(raw, meta["columns"])
    elif np.shape(raw)[1:] != tuple(meta["input_shape"]):
        raise UserError(f"the images have the shape {list(np.shape(raw))}, [N, *{meta['input_shape']}] is expected")
    return _encode(_transformer(path, path.stat().st_mtime_ns), raw)


def raw_example(folder: Path) -> pd.DataFrame | NDArray[Any]:
    """A few raw training rows, as `transform` takes them; example.json has them as a request to a served model."""
    import pandas as pd

    from src.tables import conform

    payload = json.loads((folder / "example.json").read_text())
    if "inputs" in payload:
        return np.array(payload["inputs"], np.uint8)
    return conform(pd.DataFrame(**payload["dataframe_split"]), _read_meta(folder)["columns"])


def digest(folder: Path) -> str:
    """SHA-256 over the six array files."""
    total = hashlib.sha256()
    for name in ARRAYS:
        with (folder / name).open("rb") as file:
            total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _read_meta(folder: Path) -> dict[str, Any]:
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
    from src.tables import loads

    return loads(path.read_bytes(), path)
