"""Raw data: what a data set is once it is read, and the keys of `conf/data` that every reader has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from src.system.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


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


class TableConfig(DataConfig):
    scaling: Literal["quantile", "standard"]


class Column(TypedDict):
    """A column that a model is given at inference, its type in MLflow's words."""

    name: str
    dtype: Literal["double", "string"]
