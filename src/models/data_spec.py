"""The facts of the data that a model is built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from src.models.embeddings import Edges
from src.system.data_meta import DataMeta


@dataclass(frozen=True)
class DataSpec:
    """The shapes of rows and outputs, and what a table's columns and an image's patches are like.

    Args:
        input_shape: of a row: (columns,), or (C, H, W) of images.
        n_outputs: classes, or 1 for a value.
        categories: cardinality of each column of categories; numeric columns come first in a row.
        edges: of the bins of each numeric column, by the kind of bins; empty where the data is no table.
        patches: mean products of the pixels of an image's 3×3 patches [9 C, 9 C]; empty for tables.
    """

    input_shape: tuple[int, ...]
    n_outputs: int
    categories: Sequence[int] = ()
    edges: Edges = field(default_factory=dict)
    patches: Sequence[Sequence[float]] = ()

    @classmethod
    def of(cls, meta: DataMeta) -> DataSpec:
        """Select what a model may know of the data that `meta` describes."""
        return cls(meta.input_shape, meta.n_outputs, list(meta.categories), edges_of(meta), list(meta.patches))

    def arguments(self, accepted: Mapping[str, Any]) -> dict[str, Any]:
        """Select what a constructor with the parameters `accepted` takes: the whole as `data_spec`, or single fields."""
        return {name: self if name == WHOLE else getattr(self, name) for name in FROM_DATA if name in accepted}


WHOLE = "data_spec"
FROM_DATA = (WHOLE, *(each.name for each in fields(DataSpec)))  # parameters of a model that no config sets


def edges_of(meta: DataMeta) -> Edges:
    """Read the edges of bins from what `meta.json` says; of data prepared before there were kinds, 48 quantile bins."""
    if meta.edges or not meta.bins:
        return dict(meta.edges)
    return {"quantile": [_coarse_to_fine(column) for column in meta.bins]}


def _coarse_to_fine(edges: Sequence[float]) -> list[float]:
    """Order sorted edges so that every beginning of the list is spread over all of them."""
    ordered, gaps = [edges[0], edges[-1]], [(0, len(edges) - 1)]
    for low, high in gaps:
        if high - low > 1:
            middle = (low + high) // 2
            ordered.append(edges[middle])
            gaps += [(low, middle), (middle, high)]
    return ordered
