"""Convolutional network for images of any size and number of channels."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.checks import check_depth, check_dropout, check_positive
from src.models.layers import ACTIVATIONS, Activation, Norm, initialise, normalisation
from src.models.whitening import whitening_convolution

Views = Literal["none", "mirror", "shift", "both"]
Pooling = Literal["average", "max"]
Initial = Literal["random", "dirac"]


class CNN(nn.Module):
    """`depth` stages of one or two 3×3 convolutions that halve the image, then dropout and a linear output.

    A stage is convolution → norm → activation, once or twice. Average pooling ends it; max pooling stands right after its
    first convolution, so that all behind it is done on a quarter of the pixels. The first stage has `channels`. Stages halve
    the image, and the next one has twice the channels, while both sides have at least 2 pixels; further stages keep size
    and channels. With `dirac`, `whitening`, no `norm_scale`, two convolutions and max pooling it is the form of Jordan 2024
    (airbench). x [B, C, H, W] → [B, n_outputs].

    Args:
        input_shape: (C, H, W).
        n_outputs: columns of the output.
        patches: mean products of the pixels of 3×3 patches [9 C, 9 C], which `whitening` needs.
        channels: of the first stage.
        depth: stages.
        activation: behind every convolution.
        norm: in front of the activation.
        dropout: share of the pooled pixels that a training step leaves out.
        convolutions: of a stage, 1 or 2.
        pooling: over 2×2 pixels.
        norm_scale: whether norms learn a scale beside their shift.
        initial: weights of convolutions: `random`, or `dirac`, which passes on the channels that come in, and is random in
            the others.
        whitening: whether a frozen convolution that decorrelates patches comes first.
        tta: views whose outputs are averaged in a prediction: `none`, the image alone; `mirror`, its mirror image too;
            `shift`, moved by a pixel along the diagonal to either side, of half the weight; `both`, six.

    Raises:
        ValueError: the data is a table, or a hyperparameter is out of its range.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_outputs: int,
        patches: Sequence[Sequence[float]],
        *,
        channels: int,
        depth: int,
        activation: Activation,
        norm: Norm,
        dropout: float,
        convolutions: Literal[1, 2] = 1,
        pooling: Pooling = "average",
        norm_scale: bool = True,
        initial: Initial = "random",
        whitening: bool = False,
        tta: Views = "none",
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError("model.name=cnn needs images, but the data is a table: choose model=mlp or model=linear.")
        check_positive(channels=channels)
        check_depth(depth)
        check_dropout(dropout=dropout)

        n_in, height, width = input_shape
        self.whitening: nn.Module | None = None
        if whitening:
            conv = whitening_convolution(n_in, patches)
            self.whitening, n_in = nn.Sequential(conv, ACTIVATIONS[activation]()), conv.out_channels
        n_out = channels
        stages = []
        for _ in range(depth):
            pool = min(height, width) >= 2
            stages.append(stage(n_in, n_out, activation, norm, pooling if pool else None, convolutions, norm_scale))
            n_in = n_out
            if pool:
                height, width, n_out = height // 2, width // 2, n_out * 2
        self.stages = nn.Sequential(*stages)
        if initial == "dirac":
            pass_on_channels(self.stages)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(n_in * height * width, n_outputs)
        initialise(self.output, None)
        self.tta = tta

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, C, H, W] → [B, n_outputs]; where no part is in training, the mean over the views."""
        if self.tta == "none" or any(module.training for module in self.modules()):
            return self.outputs(x)
        if self.tta == "mirror":
            return self.mirrored(x)
        of_a_view = self.outputs if self.tta == "shift" else self.mirrored
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        shifted = of_a_view(padded[..., :height, :width]) + of_a_view(padded[..., 2:, 2:])
        return of_a_view(x) * 0.5 + shifted * 0.25

    def mirrored(self, x: Tensor) -> Tensor:
        """Compute the mean of the outputs for images and for their mirror images."""
        return (self.outputs(x) + self.outputs(x.flip(3))) * 0.5

    def outputs(self, x: Tensor) -> Tensor:
        """Compute the outputs for images as they are, channels last in memory."""
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        if self.whitening is not None:
            x = self.whitening(x)
        out: Tensor = self.output(self.dropout(self.stages(x).flatten(1)))
        return out


def stage(
    n_in: int,
    n_out: int,
    activation: Activation,
    norm: Norm,
    pooling: Pooling | None,
    convolutions: int = 1,
    norm_scale: bool = True,
) -> nn.Sequential:
    """Make one stage.

    Args:
        n_in: channels that come in.
        n_out: channels that go out.
        activation: behind every convolution.
        norm: in front of it.
        pooling: over 2×2 pixels, `max` right after the first convolution, `average` at the end; None: none.
        convolutions: one or two.
        norm_scale: whether norms learn a scale.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for suffix in ["", "2"][:convolutions]:
        conv = parts[f"conv{suffix}"] = nn.Conv2d(n_out if suffix else n_in, n_out, kernel_size=3, padding=1)
        initialise(conv, activation)
        if pooling == "max" and not suffix:
            parts["pool"] = nn.MaxPool2d(2)
        if norm != "none":
            layer = parts[f"norm{suffix}"] = normalisation(norm, n_out, images=True)
            layer.get_parameter("weight").requires_grad_(norm_scale)
        parts[f"activation{suffix}"] = ACTIVATIONS[activation]()
    if pooling == "average":
        parts["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(parts)


def pass_on_channels(stages: nn.Module) -> None:
    """Let the first units of every convolution put out the channels that come in; the others keep their random weights."""
    for conv in stages.modules():
        if isinstance(conv, nn.Conv2d) and not conv.weight.is_meta:
            with torch.no_grad():
                nn.init.dirac_(conv.weight[: conv.in_channels])
