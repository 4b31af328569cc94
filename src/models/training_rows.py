"""The training rows of a model that predicts from them, as a part of the model.

A model that looks up neighbours has one `TrainingRows`, and whoever builds it for a member hands it that member's rows
(`src/population/member_rows.py`). They are no parameters: no optimizer changes them, no average is taken of them, and
checkpoints leave them out, since the member says which they are. They are in the `state_dict` of a final member, and so in
what is served and exported.
"""

import math
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

FEWEST_DRAWN = 64  # neighbours that a step looks at, where there are so many


class TrainingRows(nn.Module):
    """Inputs `x` [N, *input_shape], targets `y` [N] and the logarithms of the weights of a member's rows, each there once.

    `encoded` is whatever the model has computed of them for its predictions [N, D], or None: it is dropped whenever the mode
    is set or weights are loaded, since a model predicts between such calls with the same weights.
    """

    x: Tensor
    y: Tensor
    log_weight: Tensor
    encoded: Tensor | None

    def __init__(self, input_shape: tuple[int, ...], classes: bool) -> None:
        """Begin without rows; `classes`: the targets are whole numbers."""
        super().__init__()
        self.register_buffer("x", torch.zeros(0, *input_shape))
        self.register_buffer("y", torch.zeros(0, dtype=torch.long if classes else torch.float32))
        self.register_buffer("log_weight", torch.zeros(0))
        self.register_buffer("encoded", None, persistent=False)
        self._weighted = False
        self._among: Tensor | None = None  # place of every training row of the data among these; N: it is none of them
        self._next: Tensor | None = None

    def hold(self, x: Tensor, y: Tensor, weight_N: Tensor) -> None:
        """Take the training rows that weigh more than 0; where these are all, without a copy.

        Args:
            x: inputs of all training rows [N, *input_shape].
            y: their targets [N].
            weight_N: how much each counts.
        """
        there_N = weight_N > 0
        places = there_N.nonzero().squeeze(1)
        self._among = torch.where(there_N, there_N.cumsum(0) - 1, len(places)).to(x.device)
        if len(places) < len(x):
            x, y, weight_N = x[places.to(x.device)], y[places.to(y.device)], weight_N[places]
        self.x, self.y, self.log_weight = x, y, weight_N.log().to(x)
        self._changed()

    def next_rows(self, index_B: Tensor) -> None:
        """Say which training rows of the data the next forward in training computes, as none is its own neighbour."""
        self._next = None if self._among is None else self._among[index_B]

    def draw(self, share: float) -> tuple[Tensor, Tensor | None]:
        """Draw a share of the rows by PyTorch's generator, for one forward in training.

        Returns:
            The places of the M that are drawn; and where among these the rows are that `next_rows` has named [B], -1 where
            they are not, None where it has named none.
        """
        places_M = torch.randperm(len(self.x), device=self.x.device)[: n_candidates(len(self.x), share)]
        if self._next is None:
            return places_M, None
        drawn_at_N1 = places_M.new_full((len(self.x) + 1,), -1)
        drawn_at_N1[places_M] = torch.arange(len(places_M), device=places_M.device)
        own_B, self._next = drawn_at_N1[self._next], None
        return places_M, own_B

    def targets(self, places_M: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the targets of the rows at these places, None: all; and logarithms of weights, None: all are alike."""
        y_M, weight_M = self.y, self.log_weight if self._weighted else None
        if places_M is None:
            return y_M, weight_M
        return y_M[places_M], None if weight_M is None else weight_M[places_M]

    def train(self, mode: bool = True) -> Self:
        """Set the mode."""
        self.encoded = None
        return super().train(mode)

    def _changed(self) -> None:
        self._weighted, self.encoded = bool((self.log_weight != 0).any()), None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take the rows of `state_dict`, as many as it has; where it has none, these stay."""
        if f"{prefix}x" in state_dict:
            for name in ("x", "y", "log_weight"):
                setattr(self, name, state_dict[f"{prefix}{name}"].to(getattr(self, name)))
            self._among = None
        self._changed()


def n_candidates(count: int, share: float) -> int:
    """Count the rows that a step draws, of so many: the `share`, but not fewer than `FEWEST_DRAWN` where they are there."""
    return min(count, max(math.ceil(share * count), FEWEST_DRAWN))


@runtime_checkable
class LooksUpRows(Protocol):
    """A model that compares every row with training rows, which costs more than the way of the row through `encoder`."""

    encoder: nn.Module

    def training_operations(self, rows: int, batch: int, encoding: int) -> float:
        """Return the multiply-adds of a row's way forward in training.

        Args:
            rows: training rows.
            batch: rows of a step.
            encoding: multiply-adds of a row's way through `encoder`.
        """

    def prediction_operations(self, rows: int, encoding: int) -> int:
        """Return the multiply-adds of a row's prediction from so many training `rows`, with `encoding` as above."""

    def step_bytes(self, rows: int, batch: int) -> int:
        """Return the bytes of a step beside weights and rows, with so many training `rows` and rows of a `batch`."""


def parts_with_rows(model: nn.Module) -> dict[str, TrainingRows]:
    """Return the parts of `model` that hold training rows, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, TrainingRows)}


def row_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of training rows in `model`, by name."""
    parts = parts_with_rows(model).items()
    return {f"{name}.{key}": tensor for name, part in parts for key, tensor in part.named_buffers()}
