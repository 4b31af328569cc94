"""Raw files become prepared data: split, fitted on the training rows, written as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.dataset import digest, read_meta
from src.data.raw import Raw
from src.data.reader import parse
from src.data.splitting import PARTS, split
from src.system.errors import UserError
from src.system.files import atomic_folder, write_bytes, write_json, write_npy
from src.system.locks import alone

N_EXAMPLES = 5


def prepare(config: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Read, split, fit on the training rows and write a folder as a whole. The same files and config give the same bytes.

    Args:
        config: the section `data` of the config.
        out: the folder of the prepared data.

    Returns:
        What its `meta.json` says.

    Raises:
        UserError: it names the key, column or row that is wrong, or another process prepares the same folder.
    """
    from src.data import transformer_file

    reader = parse(config)
    with alone(out.with_name(f".{out.name}.lock"), f"prepare of {reader.name}"):
        raw = reader.read()
        rows = split(raw, reader)
        preprocessor = reader.preprocessor(raw, rows["train"])
        mean, std = _moments(raw, rows["train"])
        with atomic_folder(out) as folder:
            for part in PARTS:
                write_npy(folder / f"x_{part}.npy", preprocessor.transform(raw.x.take(rows[part], axis=0)))
                write_npy(folder / f"y_{part}.npy", raw.y[rows[part]])
            x_train = np.load(folder / "x_train.npy", mmap_mode="r")
            meta = {
                "name": reader.name,
                "task": raw.task,
                **{f"n_{part}": len(rows[part]) for part in PARTS},
                "input_shape": x_train.shape[1:],
                "n_classes": len(raw.class_names),
                "class_names": raw.class_names,
                "sha256": digest(folder),
                "source": reader.source,
                "categories": preprocessor.categories,
                "bins": preprocessor.bins(x_train),
                "target_mean": mean,
                "target_std": std,
                "columns": raw.columns,
            }
            write_bytes(folder / "preprocessing.skops", transformer_file.dumps(preprocessor.transformer))
            examples = raw.x.take(rows["train"][:N_EXAMPLES], axis=0)
            write_json(folder / "example.json", preprocessor.request(examples))
            write_json(folder / "meta.json", meta)
        return read_meta(out)


def _moments(raw: Raw, train: NDArray[np.intp]) -> tuple[float, float]:
    """Compute mean and standard deviation of the training targets; 0 and 1 of classes."""
    if raw.task == "classification":
        return 0.0, 1.0
    y = raw.y[train].astype(np.float64)
    if y.std() == 0:
        raise UserError(f"the target is {y[0]:g} in every training row: there is nothing to learn")
    return float(y.mean()), float(y.std())
