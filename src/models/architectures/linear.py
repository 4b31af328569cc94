"""Linear model: softmax or least-squares regression on the flattened row."""

from typing import Unpack

from torch import Tensor, nn

from src.models.embeddings import Edges, NumberEmbedding
from src.models.layers import Features, initialise


class Linear(nn.Module):
    """x [B, *input_shape] → [B, n_outputs]; `categories`, `edges`, `embedding` are of a table's columns (see `Features`)."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_outputs: int,
        categories: list[int],
        edges: Edges,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        super().__init__()
        self.features = Features(input_shape, categories, edges, **embedding)
        self.output = nn.Linear(self.features.width, n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs]."""
        out: Tensor = self.output(self.features(x))
        return out
