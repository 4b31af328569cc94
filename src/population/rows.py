"""NEEDS A DOCSTRING."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The data of a task as tensors on one device; for regression `y` is standardised."""

    meta: Mapping[str, Any]
    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor

    @property
    def classification(self) -> bool:
        return bool(self.meta["task"] == "classification")
