"""A data set as a reader returns it: raw rows, targets, and the part of the split that the files name for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]


class Column(TypedDict):
    """An input column of a table.

    `dtype`: the type of its raw cells, in MLflow's words; `double` is read as numbers, `string` as categories.
    """

    name: str
    dtype: Literal["double", "string"]


@dataclass(frozen=True)
class Raw:
    """N rows of a table or N images, with their targets.

    Args:
        x: a DataFrame of N rows, or images [N, C, H, W] of uint8.
        y: targets [N]: int64 class indices, or float values in the target's unit.
        part: the part of each row [N] by the files: train, val or test.
        task: what is to be predicted.
        class_names: the names of the classes, by index; empty for a regression.
        columns: the input columns of a table, in the order of the file; empty for images.
    """

    x: Any
    y: NDArray[Any]
    part: NDArray[np.str_]
    task: Task
    class_names: list[str]
    columns: list[Column]
