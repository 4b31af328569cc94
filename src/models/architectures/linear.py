"""Linear model: softmax or least-squares regression on the flattened row."""

from torch import Tensor, nn

from src.models.data_spec import DataSpec
from src.models.layers import Features, initialise


class Linear(nn.Module):
    """A linear layer on flat rows, x [B, *input_shape] → [B, n_outputs]; `data_spec` describes the data."""

    def __init__(self, data_spec: DataSpec) -> None:
        super().__init__()
        self.features = Features(data_spec)
        self.output = nn.Linear(self.features.width, data_spec.n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs]."""
        out: Tensor = self.output(self.features(x))
        return out
