"""Raw data: the keys of `conf/data`, where the files lie, and how each kind of them is read."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from src.tables import Column

Task = Literal["classification", "regression"]
Fraction = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Raw:
    """A data set as it was read: N rows, each with the part it belongs to by the files: train, val or test."""

    x: pd.DataFrame | NDArray[np.uint8]  # images: [N, C, H, W]
    y: NDArray[Any]  # int64 classes, or float32
    part: NDArray[np.str_]
    task: Task
    class_names: list[str]
    columns: list[Column]  # of a table, in the order of the file


class DataConfig(BaseModel):
    """What every data set has; defaults stand in `conf/data` alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    reader: str
    source: str
    root: str | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    val_fraction: Fraction
    test_fraction: Fraction | None
    rows: Annotated[int, Field(ge=1)] | None

    @staticmethod
    def parse(config: Mapping[str, Any]) -> DataConfig:
        """The checked config of its reader; UserError says which key is wrong."""
        reader = config.get("reader")
        if reader not in KINDS:
            raise UserError(f"data.reader={reader!r} is not a reader: {_did_you_mean(str(reader), KINDS)}")
        kind = KINDS[reader]
        for key, value in config.items():
            if value == "???":
                raise UserError(f"data.{key} must be given: {kind.model_fields[key].description}")
            if key not in kind.model_fields:
                raise UserError(f"data.{key} is not a key of {reader} data: {_did_you_mean(key, kind.model_fields)}")
        try:
            parsed = kind.model_validate(dict(config))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise UserError(f"data.{key}={first['input']!r}: {first['msg']}") from None
        if parsed.val_fraction + (parsed.test_fraction or 0) >= 1:
            raise UserError("data.val_fraction and data.test_fraction add up to 1 or more: training needs rows too")
        return parsed

    def read(self) -> Raw:
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        if self.root is not None:
            return Path(self.root)
        return Path(os.environ.get("LOCKSTEP_DATA") or "data/raw") / self.name

    def find(self, file: str) -> Path:
        path = self.folder / file
        if not path.is_file():
            pointer = path.with_name(path.name + ".dvc")
            fetch = f"`dvc update {pointer}` fetches it" if pointer.is_file() else f"get it from {self.source or '?'}"
            raise UserError(
                f"{path} is not there: {fetch}, or set data.root to the folder that has it, "
                f"or the environment variable LOCKSTEP_DATA to the folder that has {self.name}/"
            )
        return path


class DigitsConfig(DataConfig):
    """scikit-learn's 1,797 images of digits, 8×8 pixels, values 0–16; needs no file."""

    reader: Literal["digits"]
    test_fraction: Fraction

    def read(self) -> Raw:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = digits.images[:, None].astype(np.uint8)
        part = np.full(len(images), "train")
        return Raw(images, digits.target.astype(np.int64), part, "classification", [*map(str, range(10))], [])


class IdxConfig(DataConfig):
    """Images and labels in the four gzipped IDX files of MNIST and its kin, with official test rows."""

    reader: Literal["idx"]
    test_fraction: None
    class_names: list[str]
    md5: dict[str, str] | None

    def read(self) -> Raw:
        images, labels = zip(*(self._pair(stem) for stem in ("train", "t10k")), strict=True)
        if images[0].shape[1:] != images[1].shape[1:]:
            raise UserError(f"training images are {images[0].shape[1:]}, test images {images[1].shape[1:]} pixels")
        part = np.repeat(["train", "test"], [len(labels[0]), len(labels[1])])
        x, y = np.concatenate(images)[:, None], np.concatenate(labels).astype(np.int64)
        return Raw(x, y, part, "classification", self.class_names, [])

    def _pair(self, stem: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images, labels = self._file(f"{stem}-images-idx3-ubyte.gz", 3), self._file(f"{stem}-labels-idx1-ubyte.gz", 1)
        if len(images) != len(labels):
            raise UserError(f"{stem}: {len(images)} images, but {len(labels)} labels: they must be pairs")
        wrong = labels >= len(self.class_names)
        if wrong.any():
            at = int(wrong.argmax())
            last = len(self.class_names) - 1
            raise UserError(f"{stem} label {at + 1} is {labels[at]}, but data.class_names has classes 0 to {last}")
        return images, labels

    def _file(self, name: str, n_axes: int) -> NDArray[np.uint8]:
        path = self.find(name)
        packed = path.read_bytes()
        content = read_idx(packed, n_axes, path)
        md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
        if self.md5 is not None and md5 != self.md5.get(name):
            raise UserError(
                f"{path} has the md5 {md5}, not {self.md5.get(name)}: fetch it again, "
                "or set data.md5=null for images of your own"
            )
        return content


class TableConfig(DataConfig):
    scaling: Literal["quantile", "standard"]


class CsvConfig(TableConfig):
    """A table in a text file, with or without test rows of its own."""

    reader: Literal["csv"]
    file: Annotated[str, Field(description="the table's file, e.g. data.file=data/raw/mine.csv")]
    test_file: str | None
    split_column: str | None
    target: Annotated[str, Field(description="the column to predict, e.g. data.target=price")]
    task: Annotated[Task, Field(description="data.task=classification or data.task=regression")]
    separator: Annotated[str, Field(min_length=1)]
    encoding: str
    na_values: list[str]
    comment: Annotated[str, Field(min_length=1, max_length=1)] | None
    columns: list[str] | None
    drop: list[str]
    categorical: list[str] | None
    target_strip: str
    target_scale: Annotated[float, Field(gt=0)]

    def read(self) -> Raw:
        import pandas as pd

        from src import tables

        paths = [self.find(file) for file in (self.file, self.test_file) if file is not None]
        frames = [
            tables.read_frame(
                path,
                separator=self.separator,
                encoding=self.encoding,
                na_values=self.na_values,
                comment=self.comment,
                columns=self.columns,
            )
            for path in paths
        ]
        if len(paths) == 2:
            tables.check_same_columns(frames[0], frames[1], paths[0], paths[1])
        part = np.repeat(["train", "test"][: len(frames)], [len(frame) for frame in frames])
        frame = pd.concat(frames, keys=[path.name for path in paths])
        for key, names in ("target", [self.target]), ("split_column", [self.split_column]), ("drop", self.drop):
            for name in filter(None, names):
                if name not in frame:
                    nearest = _did_you_mean(name, frame.columns)
                    if frame.shape[1] == 1:
                        nearest = f"with data.separator={self.separator!r} it has one column only"
                    raise UserError(f"data.{key} names {name!r}, which is no column of {paths[0]}: {nearest}")
        if self.split_column is not None:
            part = _parts(frame[self.split_column])
        target = frame[self.target]
        x = frame.drop(columns=[self.target, *filter(None, [self.split_column]), *self.drop])
        return _table(x, target, part, self.task, self.categorical, self.target_strip, self.target_scale)


class SplitsConfig(TableConfig):
    """A table of numbers with fixed train and test rows, in the files of Gal & Ghahramani (2016)."""

    reader: Literal["splits"]
    test_fraction: None
    split: Annotated[int, Field(ge=0)]

    def read(self) -> Raw:
        import pandas as pd

        from src import tables

        path = self.find("data.txt")
        with path.open() as file:
            names = [f"f{number}" for number in range(len(file.readline().split()))]
        cells = tables.read_frame(path, separator=r"\s+", columns=names)
        features, target = (self._indices(f"index_{name}.txt", len(names)) for name in ("features", "target"))
        train, test = (self._indices(f"index_{name}_{self.split}.txt", len(cells)) for name in ("train", "test"))
        both = np.intersect1d(train, test)
        if len(both):
            raise UserError(f"{self.folder}: row {both[0]} is both a training and a test row of split {self.split}")
        frame = pd.concat([cells], keys=[path.name]).iloc[np.concatenate([train, test])]
        part = np.repeat(["train", "test"], [len(train), len(test)])
        return _table(frame.iloc[:, features], frame.iloc[:, target[0]], part, "regression")

    def _indices(self, file: str, end: int) -> NDArray[np.intp]:
        path = self.find(file)
        try:
            indices = np.array(path.read_text().split(), np.float64).astype(np.intp)
        except ValueError:
            indices = np.array([-1])
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= end:
            raise UserError(f"{path} must hold numbers from 0 to {end - 1} and no others")
        return indices


KINDS: dict[Any, type[DataConfig]] = {
    "digits": DigitsConfig,
    "idx": IdxConfig,
    "csv": CsvConfig,
    "splits": SplitsConfig,
}


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    from src.tables import did_you_mean  # not at the top: every stage checks its config, few need pandas

    return did_you_mean(name, names)


def read_idx(packed: bytes, n_axes: int, path: Path) -> NDArray[np.uint8]:
    """An array of bytes with `n_axes` axes in LeCun's IDX format, gzipped."""
    try:
        content = gzip.decompress(packed)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(f"{path} is not a whole gzip file: fetch it again") from None
    magic = int.from_bytes(content[:4], "big")
    expected = 0x0800 + n_axes
    if magic != expected:
        raise UserError(f"{path} starts with the magic number {magic}, an IDX file of {n_axes} axes with {expected}")
    start = 4 + 4 * n_axes
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != prod(shape):
        raise UserError(f"{path} announces {prod(shape)} bytes of data, but has {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _parts(cells: pd.Series[Any]) -> NDArray[np.str_]:
    from src.tables import row_name

    names = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
    parts = cells.str.lower().map(names)
    if parts.isna().any():
        at = int(parts.isna().to_numpy().argmax())
        raise UserError(
            f"the split column {cells.name!r} is {cells.iloc[at]!r} in {row_name(cells, at)}: "
            "it must be train, val or test"
        )
    return parts.to_numpy(dtype=str)


def _table(
    x: pd.DataFrame,
    target: pd.Series[Any],
    part: NDArray[np.str_],
    task: Task,
    categorical: list[str] | None = None,
    target_strip: str = "",
    target_scale: float = 1.0,
) -> Raw:
    from src import tables

    if x.columns.empty:
        raise UserError(f"{target.name!r} is the only column that is left: a model needs at least one to learn from")
    tables.check_target(target)
    columns = tables.infer_columns(x, categorical)
    x = tables.conform(x, columns)
    if task == "regression":
        y = (tables.numbers(target).to_numpy() / target_scale).astype(np.float32)
        return Raw(x, y, part, task, [], columns)
    labels = target.str.strip(target_strip) if target_strip else target
    names = tables.class_names(labels[part != "test"])
    return Raw(x, tables.class_indices(labels, names), part, task, names, columns)
