"""Networks of equal cells for images: the space of NAS-Bench-201 (Dong & Yang 2020), at any width and depth."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from src.models.cell import Cell as Graph
from src.models.cell import Nothing
from src.models.checks import check_positive
from src.models.layers import Norm, initialise, normalisation
from src.models.mixture import MIXED, Mixed
from src.system.cell_string import operations_of

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")  # the benchmark's names
STAGES = 3


class Cell(nn.Module):
    """Three stages of `cells` equal cells; between them a residual block halves the image and doubles the channels.

    x [B, C, H, W] → [B, n_outputs], `input_shape` is (C, H, W). `operations`: of each edge, by `src/system/cell_string.py`;
    `norm`: after each convolution. The stem has `channels`; after the last stage comes the mean over all pixels. An
    image keeps its size where a side would fall below 2 pixels.

    Raises:
        ValueError: the data is a table, or a hyperparameter is out of its range.
    """

    choices: ClassVar[Sequence[str]] = OPERATIONS

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_outputs: int,
        *,
        channels: int,
        cells: int,
        norm: Norm,
        operations: Mapping[str, str] | str,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            name = type(self).__name__.lower()
            raise ValueError(f"model.name={name} needs images, but the data is a table: choose model=table_{name}.")
        check_positive(channels=channels, cells=cells)
        by_edge = operations_of(operations, self.choices)

        n_in, height, width = input_shape
        blocks: list[nn.Module] = [convolution(n_in, channels, 3, norm)]
        for stage in range(STAGES):
            if stage:
                stride = 2 if min(height, width) >= 4 else 1
                blocks.append(Reduction(channels, stride, norm))
                channels, height, width = 2 * channels, height // stride, width // stride
            blocks += [Graph(by_edge, _maker(channels, norm)) for _ in range(cells)]
        last = [nn.Identity() if norm == "none" else normalisation(norm, channels, images=True), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks, *last)
        self.output = nn.Linear(channels, n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, C, H, W] → [B, n_outputs]."""
        out: Tensor = self.output(self.blocks(x).mean((2, 3)))
        return out


class Reduction(nn.Module):
    """A residual block: two convolutions beside an average and a 1×1 convolution. [B, C, H, W] → [B, 2C, H/s, W/s].

    `channels` is C, `stride` is s in pixels, and `norm` follows the two convolutions.
    """

    def __init__(self, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.long = nn.Sequential(
            nn.ReLU(),
            convolution(channels, 2 * channels, 3, norm, stride),
            nn.ReLU(),
            convolution(2 * channels, 2 * channels, 3, norm),
        )
        pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.short = nn.Sequential(pool, convolution(channels, 2 * channels, 1, "none"))

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, C, H, W] → [B, 2C, H/s, W/s]."""
        short: Tensor = self.short(x)
        long: Tensor = self.long(x)
        return long[..., : short.shape[2], : short.shape[3]] + short  # of an odd side the convolution has a pixel more


def convolution(n_in: int, n_out: int, side: int, norm: Norm, stride: int = 1) -> nn.Sequential:
    """Make a convolution and its normalisation.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        side: of the kernel, in pixels; the image keeps its size.
        norm: of the output; without one the convolution has a bias.
        stride: in pixels.
    """
    conv = nn.Conv2d(n_in, n_out, side, stride, padding=side // 2, bias=norm == "none")
    initialise(conv, "relu")
    return nn.Sequential(conv, *([] if norm == "none" else [normalisation(norm, n_out, images=True)]))


def _maker(channels: int, norm: Norm) -> Callable[[str], nn.Module]:
    def make(operation: str) -> nn.Module:
        if operation == MIXED:
            return Mixed(OPERATIONS, make)
        if operation.startswith("nor_conv"):
            return nn.Sequential(nn.ReLU(), convolution(channels, channels, int(operation[-1]), norm))
        if operation == "avg_pool_3x3":
            return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        return nn.Identity() if operation == "skip_connect" else Nothing()

    return make
