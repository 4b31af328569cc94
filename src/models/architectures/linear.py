"""Linear model: softmax or least-squares regression on the flattened row."""

from torch import Tensor, nn

from src.models.layers import Features, initialise


class Linear(nn.Module):
    """x [B, *input_shape] → [B, n_outputs]; `categories` describes a table's columns (see `Features`)."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, categories: list[int]) -> None:
        super().__init__()
        self.features = Features(input_shape, categories, edges={})
        self.output = nn.Linear(self.features.width, n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs]."""
        out: Tensor = self.output(self.features(x))
        return out
