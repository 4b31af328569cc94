"""The rows that a population learns from and is evaluated on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Training and validation rows as tensors on one device; `meta` describes them. For regression `y` is standardised."""

    meta: Mapping[str, Any]
    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor

    @property
    def classification(self) -> bool:
        """True where the targets are classes."""
        return bool(self.meta["task"] == "classification")
