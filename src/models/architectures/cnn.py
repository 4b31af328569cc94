"""Convolutional network for images of any size and number of channels."""

from collections import OrderedDict

from torch import Tensor, nn

from src.models.checks import check_depth, check_dropout, check_positive
from src.models.layers import ACTIVATIONS, Activation, Norm, initialise, normalisation


class CNN(nn.Module):
    """`depth` stages of 3×3 convolution → norm → activation → average pooling, then dropout and a linear output.

    The first stage has `channels`. Stages halve the image, and the next one has twice the channels, while both sides
    have at least 2 pixels; further stages keep size and channels. x [B, C, H, W] → [B, n_outputs], `input_shape`
    is (C, H, W).

    Raises:
        ValueError: the data is a table, or a hyperparameter is out of its range.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_outputs: int,
        *,
        channels: int,
        depth: int,
        activation: Activation,
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError("model.name=cnn needs images, but the data is a table: choose model=mlp or model=linear.")
        check_positive(channels=channels)
        check_depth(depth)
        check_dropout(dropout=dropout)

        n_in, height, width = input_shape
        n_out = channels
        stages = []
        for _ in range(depth):
            pool = min(height, width) >= 2
            stages.append(stage(n_in, n_out, activation, norm, pool))
            n_in = n_out
            if pool:
                height, width, n_out = height // 2, width // 2, n_out * 2
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(n_in * height * width, n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, C, H, W] → [B, n_outputs]."""
        out: Tensor = self.output(self.dropout(self.stages(x).flatten(1)))
        return out


def stage(n_in: int, n_out: int, activation: Activation, norm: Norm, pool: bool) -> nn.Sequential:
    """Make one stage: convolution of `n_in` to `n_out` channels, `norm`, `activation`, and if `pool` an average over 2×2."""
    conv = nn.Conv2d(n_in, n_out, kernel_size=3, padding=1)
    initialise(conv, activation)
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if norm != "none":
        parts["norm"] = normalisation(norm, n_out, images=True)
    parts["activation"] = ACTIVATIONS[activation]()
    if pool:
        parts["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(parts)
