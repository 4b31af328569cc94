"""The description of prepared data: the content of `meta.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from src.system.json_object import JsonObject


@dataclass(frozen=True, kw_only=True)
class DataMeta(JsonObject):
    """The description of prepared data, as `prepare` writes it.

    `categories`: how many each column of words has; these columns are the last of x. `edges`: of the bins of
    each column of numbers before them, by kind: see `src/data/bin_edges.py`; `bins`: of quantile bins, as an earlier version
    wrote them. `patches`: mean products of the pixels of 3×3 patches with each other, of images; empty where an earlier
    version wrote it. `target_mean`, `target_std`: of the training targets; 0 and 1 of classes.
    `n_classes`: 0 of a regression, whose `class_names` are empty. `class_values`: the classes in the type that they have in
    the data; empty: as their names. `columns`: the input columns of a table, each a `Column` of `src/data/raw.py`; empty
    for images. `profile`: a `ProfileLine` for each column that was looked at. `origin`: of `src/data/sources.py`; None
    where the version that wrote it recorded none.
    """

    title: ClassVar[str] = "meta.json"

    name: str
    task: Literal["classification", "regression"]
    n_train: int
    n_val: int
    n_test: int
    input_shape: tuple[int, ...]
    n_classes: int
    class_names: Sequence[str]
    sha256: str
    target_mean: float
    target_std: float
    columns: Sequence[Any]
    categories: Sequence[int] = ()
    edges: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    bins: Sequence[Sequence[float]] = ()
    class_values: Sequence[Any] = ()
    source: str = ""
    patches: Sequence[Sequence[float]] = ()
    profile: Sequence[Any] = ()
    warnings: Sequence[str] = ()
    origin: Mapping[str, Any] | None = None

    @property
    def classification(self) -> bool:
        """True where the targets are classes."""
        return self.task == "classification"

    @property
    def n_outputs(self) -> int:
        """The number of outputs of a model for a row: one a class, or a single one."""
        return self.n_classes or 1

    @property
    def reference(self) -> dict[str, Any]:
        """The name, the digest, the source and the number of training rows, as MLflow shows a data set."""
        return {"name": self.name, "sha256": self.sha256, "source": self.source, "n_train": self.n_train}

    @property
    def n_rows(self) -> int:
        """The rows of all parts."""
        return self.n_train + self.n_val + self.n_test
