"""Multi-layer perceptron for tables and (flattened) images."""

from collections import OrderedDict
from typing import Unpack

from torch import Tensor, nn

from src.models.checks import check_depth, check_dropout, check_positive
from src.models.data_spec import DataSpec
from src.models.embeddings import NumberEmbedding
from src.models.layers import ACTIVATIONS, Activation, Features, Norm, Parametric, Scale, initialise, normalisation


class MLP(nn.Module):
    """`depth` layers of `width` units (or one layer per entry of `width`), each linear → norm → activation → dropout.

    x [B, *input_shape] → [B, n_outputs]. `data_spec` describes the data, `embedding` says how a table's numbers
    pass (see `Features`). `parametric_activation`: see `Parametric`; `front_scale`: a `Scale` in front of the first layer.

    Raises:
        ValueError: a hyperparameter is out of its range, or depth and widths differ.
    """

    def __init__(
        self,
        data_spec: DataSpec,
        *,
        width: int | list[int],
        depth: int,
        activation: Activation,
        norm: Norm,
        dropout: float,
        parametric_activation: bool = False,
        front_scale: bool = False,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        super().__init__()
        check_depth(depth)
        check_dropout(dropout=dropout)
        widths = layer_widths(width, depth)

        self.features = Features(data_spec, **embedding)
        self.scale = Scale(self.features.width) if front_scale else None
        fan_ins = [self.features.width, *widths]
        self.hidden = nn.Sequential(
            *(
                layer(n_in, n_out, activation, norm, dropout, parametric_activation)
                for n_in, n_out in zip(fan_ins, widths, strict=False)
            )
        )
        self.output = nn.Linear(fan_ins[-1], data_spec.n_outputs)
        initialise(self.output, None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs]."""
        features = self.features(x)
        out: Tensor = self.output(self.hidden(features if self.scale is None else self.scale(features)))
        return out


def layer_widths(width: int | list[int], depth: int) -> list[int]:
    """List the units of each of `depth` layers, from one `width` for all or a list of one a layer.

    Raises:
        ValueError: the list has another length than `depth`, or a width is below 1.
    """
    widths = [width] * depth if isinstance(width, int) else list(width)
    if len(widths) != depth:
        raise ValueError(f"model.width lists {len(widths)} layers but model.depth is {depth}: they must agree.")
    check_positive(width=min(widths))
    return widths


def layer(n_in: int, n_out: int, activation: Activation, norm: Norm, dropout: float, parametric: bool) -> nn.Sequential:
    """Make one layer: linear from `n_in` to `n_out` units, `norm`, `activation` (which may be `parametric`), `dropout`."""
    linear = nn.Linear(n_in, n_out)
    initialise(linear, activation)
    parts: OrderedDict[str, nn.Module] = OrderedDict(linear=linear)
    if norm != "none":
        parts["norm"] = normalisation(norm, n_out)
    parts["activation"] = Parametric(activation, n_out) if parametric else ACTIVATIONS[activation]()
    parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(parts)
