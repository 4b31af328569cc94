"""Raw files become prepared data: split, fitted on the training rows, written as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.dataset import PARTS, digest, encode, read_meta
from src.data.raw import DataConfig, Raw, TableConfig
from src.data.readers import parse
from src.system.errors import UserError
from src.system.files import atomic_folder, write_bytes, write_json, write_npy

N_EXAMPLES = 5


def prepare(data_cfg: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Read, split, fit on the training rows and write the folder `out` as a whole; returns what its meta.json says.

    The same files and config give the same bytes. UserError names the key, column or row that is wrong.
    """
    from src.data import preprocessing

    cfg = parse(data_cfg)
    raw = cfg.read()
    rows = split(raw, cfg)
    train = _take(raw.x, rows["train"])
    if isinstance(cfg, TableConfig):
        transformer = preprocessing.fit(train, raw.columns, cfg.scaling, cfg.seed)
        categories = preprocessing.cardinalities(transformer)
    else:
        transformer, categories = fit_pixels(train), []
    mean, std = _moments(raw, rows["train"])
    with atomic_folder(out) as folder:
        for part in PARTS:
            write_npy(folder / f"x_{part}.npy", encode(transformer, _take(raw.x, rows[part])))
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
            "bins": preprocessing.quantile_bins(x_train[:, : len(raw.columns) - len(categories)])
            if raw.columns
            else [],
            "target_mean": mean,
            "target_std": std,
            "columns": raw.columns,
        }
        write_bytes(folder / "preprocessing.skops", preprocessing.dumps(transformer))
        write_json(folder / "example.json", _payload(train[:N_EXAMPLES]))
        write_json(folder / "meta.json", meta)
    return read_meta(out)


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


def _payload(x: Any) -> dict[str, Any]:
    """What MLflow's scoring server takes, with null for what is missing."""
    if not hasattr(x, "iloc"):
        return {"inputs": x}
    return {"dataframe_split": {"columns": list(x.columns), "data": x.astype(object).where(x != "", None).to_numpy()}}
