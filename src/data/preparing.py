"""Raw files become prepared data: split, fitted on the training rows, written as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from src.config.quoting import override
from src.data.columns import Refusal
from src.data.dataset import digest, read_meta
from src.data.large_table import pieces, sampled, within
from src.data.patches import patch_moments
from src.data.preprocessing import Preprocessor
from src.data.raw import Raw
from src.data.reader import Reader, parse
from src.data.sources import origin
from src.data.splitting import PARTS, split
from src.system.checksums import write_checksums
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.files import atomic_folder, npy_rows, write_bytes, write_json, write_npy
from src.system.locks import exclusive

N_EXAMPLES = 5
MOST_UNREADABLE = 0.05  # of a part's rows
SMALLEST_SPREAD = 1e-30

Rows = Mapping[str, NDArray[np.intp]]  # of each part, by their places in the raw files


def prepare(config: Mapping[str, Any], out: Path, typed: Collection[str] = ()) -> DataMeta:
    """Read, split, fit on the training rows and write a folder as a whole. The same files and config give the same bytes.

    Args:
        config: the section `data` of the config.
        out: the folder of the prepared data.
        typed: the keys of `config` that the command line set.

    Returns:
        What its `meta.json` says.

    Raises:
        UserError: it names the key, column or row that is wrong, or another process prepares the same folder.
    """
    from src.data import transformer_file

    reader = parse(config)
    with exclusive(out.with_name(f".{out.name}.lock"), f"prepare of {reader.name}"):
        raw = reader.read()
        rows = split(raw, reader)
        fitted = Fitted.on(raw, rows["train"], reader)
        preprocessor = fitted.preprocessor
        raw = _with_stored_targets(raw, rows["train"])
        with atomic_folder(out) as folder:
            warnings = [*raw.warnings, *fitted.warnings, *_write_arrays(folder, raw, rows, fitted)]
            meta = _description(folder, reader, raw, rows, fitted)
            meta |= {"warnings": warnings, "origin": origin(config, reader, typed)}
            write_bytes(folder / "preprocessing.skops", transformer_file.dumps(preprocessor.transformer))
            examples = raw.x.take(rows["train"][:N_EXAMPLES], axis=0)
            write_json(folder / "example.json", preprocessor.request(examples))
            write_json(folder / "meta.json", meta)
            write_checksums(folder)
        return read_meta(out)


@dataclass(frozen=True)
class Fitted:
    """A preprocessor, and the training rows that it was fitted on.

    Args:
        preprocessor: the fitted preprocessor.
        places: of its rows among the training rows.
        warnings: a sentence, where these are not all.
        basis: what the rows are called.
    """

    preprocessor: Preprocessor
    places: NDArray[np.intp] | slice
    warnings: Sequence[str] = ()
    basis: str = "training rows"

    @classmethod
    def on(cls, raw: Raw, train: NDArray[np.intp], reader: Reader) -> Self:
        """Fit what the `reader` wants on the rows `train` of `raw`, of a large table on a sample of them."""
        places = sampled(raw.x, len(train), reader.seed)
        rows = train[places]
        preprocessor = reader.preprocessor(raw, rows)
        if len(rows) == len(train):
            return cls(preprocessor, places)
        sentence = (
            f"a large table, read piece by piece: {len(rows):,} of its {len(train):,} training rows, drawn at random, "
            "say what its columns are and how they are scaled, and the profile counts them"
        )
        return cls(preprocessor, places, [sentence], "sampled training rows")


def _write_arrays(folder: Path, raw: Raw, rows: Rows, fitted: Fitted) -> list[str]:
    """Write inputs and targets of each part; return sentences on cells that cannot be read."""
    refusals = {part: Refusal(tolerant=True) for part in PARTS}
    with ExitStack() as stack:
        files = {part: stack.enter_context(npy_rows(folder / f"x_{part}.npy", len(rows[part]))) for part in PARTS}
        start = 0
        for piece in pieces(raw.x):
            for part in PARTS:
                places = within(rows[part], start, len(piece))
                if len(places):
                    files[part](fitted.preprocessor.transform(piece.take(places, axis=0), refusals[part]))
            start += len(piece)
    for part in PARTS:
        write_npy(folder / f"y_{part}.npy", raw.y[rows[part]])
    return [sentence for part in PARTS for sentence in _unreadable(refusals[part], part, len(rows[part]), fitted.basis)]


def _description(folder: Path, reader: Reader, raw: Raw, rows: Rows, fitted: Fitted) -> dict[str, Any]:
    """Describe the arrays in `folder` and the columns that they are made of."""
    mean, std = _moments(raw, rows["train"])
    preprocessor, places = fitted.preprocessor, fitted.places
    x_train = np.load(folder / "x_train.npy", mmap_mode="r")
    y_train = np.load(folder / "y_train.npy", mmap_mode="r")
    return {
        "name": reader.name,
        "task": raw.task,
        **{f"n_{part}": len(rows[part]) for part in PARTS},
        "input_shape": x_train.shape[1:],
        "n_classes": len(raw.class_names),
        "class_names": raw.class_names,
        "class_values": raw.class_values or raw.class_names,
        "sha256": digest(folder),
        "source": reader.source,
        "categories": preprocessor.categories,
        "edges": preprocessor.edges(x_train[places], y_train[places]),
        "patches": patch_moments(x_train) if x_train.ndim == 4 else [],
        "target_mean": mean,
        "target_std": std,
        "columns": preprocessor.columns,
        "profile": [*raw.profile, *preprocessor.profile],
    }


def _unreadable(refusal: Refusal, part: str, n_rows: int, basis: str) -> list[str]:
    """Say which cells of a part count as missing, since they are not what their column is in the rows of the `basis`.

    Raises:
        UserError: they are so many that the column must be something else here.
    """
    sentences = []
    for name, count in refusal.counts.items():
        what = f"column {name!r}: {refusal.examples[name]}"
        if count > MOST_UNREADABLE * n_rows + 1:
            raise UserError(
                f"{what} and {count - 1} more of {n_rows} {part} rows are not what the column is in the {basis}: "
                f"{override('data.categorical', [name])} reads it as categories, "
                f"{override('data.drop', [name])} leaves it out"
            )
        more = f" and {count - 1} more" if count > 1 else ""
        sentences.append(f"{what}{more} ({part}) cannot be read as the {basis} are, and counts as missing")
    for name, (count, example) in refusal.unknown.items():
        if count > MOST_UNREADABLE * n_rows + 1:
            sentences.append(
                f"column {name!r}: {example} and {count - 1} more of {n_rows} {part} rows are words that no "
                f"{basis.removesuffix('s')} has, which a model cannot tell apart"
            )
    return sentences


def _with_stored_targets(raw: Raw, train: NDArray[np.intp]) -> Raw:
    if raw.task == "classification":
        return raw
    from src.data.target import smallest_type

    return replace(raw, y=smallest_type(raw.y, train))


def _moments(raw: Raw, train: NDArray[np.intp]) -> tuple[float, float]:
    """Compute mean and standard deviation of the training targets; 0 and 1 of classes."""
    if raw.task == "classification":
        return 0.0, 1.0
    y = raw.y[train].astype(np.float64)
    if y.std() == 0:
        raise UserError(f"the target is {y[0]:g} in every training row: there is nothing to learn")
    if y.std() < SMALLEST_SPREAD:
        raise UserError(
            f"the target has a spread of {y.std():.1g}, below what 32 bits can tell: set data.target_scale={y.std():.0e}"
        )
    return float(y.mean()), float(y.std())
