"""The rows that a population learns from and is evaluated on."""

from dataclasses import dataclass

from torch import Tensor

from src.system.data_meta import DataMeta


@dataclass(frozen=True)
class Rows:
    """Training and validation rows as tensors on one device; `meta` describes them. For regression `y` is standardised.

    `metrics` are computed after every epoch although they take time, since someone asks for their curves.
    `larger_than_memory`: `x_train` lies in a file of which memory has no room for all.
    """

    meta: DataMeta
    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    metrics: tuple[str, ...] = ()
    larger_than_memory: bool = False

    @property
    def classification(self) -> bool:
        """True where the targets are classes."""
        return self.meta.classification
