"""A data set as a reader returns it: raw rows, targets, and the part of the split that the files name for each row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from numpy.typing import NDArray

Task = Literal["classification", "regression"]


class Column(TypedDict):
    """An input column of a table.

    `dtype`: the type of its raw cells, in MLflow's words. `reading`: how its cells are read; without it, `double` is read
    as plain numbers and `string` as categories.
    """

    name: str
    dtype: Literal["double", "string"]
    reading: NotRequired[dict[str, Any]]


class ProfileLine(TypedDict):
    """A column of the raw files as it is read: `kind` is number, category, boolean, date, left out or target.

    `distinct` and `missing` count the values of the training rows, of the target those of all rows. `note`: a remark for
    the person, or "".
    """

    column: str
    kind: str
    read_as: str
    distinct: int
    missing: int
    note: str


@dataclass(frozen=True)
class Raw:
    """N rows of a table or N images, with their targets.

    Args:
        x: a DataFrame of N rows whose cells are as in the file, or images [N, C, H, W] of uint8.
        y: targets [N]: int64 class indices, or float64 values in the target's unit.
        part: the part of each row [N] by the files: train, val or test.
        task: what is to be predicted.
        class_names: the names of the classes, by index; empty for a regression.
        class_values: the classes as they are in the files: whole numbers, numbers, true and false, or text.
        profile: a line for each column that is no input: targets, and what the reader has left out.
        warnings: sentences on the files as a whole, for the person who prepares them.
        separator: of a text table's cells.
    """

    x: Any
    y: NDArray[Any]
    part: NDArray[Any]
    task: Task
    class_names: list[str]
    class_values: list[Any] = field(default_factory=list)
    profile: list[ProfileLine] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    separator: str = ","
