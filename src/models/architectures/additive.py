"""A sum of nets, as boosting makes it."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from src.models.data_spec import DataSpec


class Additive(nn.Module):
    """The outputs of several nets of one config, each times its coefficient, summed. x [B, *input_shape] → [B, n_outputs].

    `of`: the config of a net, which gets `data_spec` too; `coefficients`: one a net; `trains`: all
    nets, or the last alone, while the others stand still.
    """

    coefficients: Tensor

    def __init__(
        self,
        data_spec: DataSpec,
        *,
        of: dict[str, Any],
        coefficients: list[float],
        trains: Literal["all", "last"] = "all",
    ) -> None:
        super().__init__()
        from src.models.building import construct

        self.parts = nn.ModuleList([construct(of, data_spec) for _ in coefficients])
        self.register_buffer("coefficients", torch.tensor(coefficients), persistent=False)
        self.still = len(coefficients) - 1 if trains == "last" else 0
        for part in self.parts[: self.still]:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; nets that stand still stay in evaluation."""
        super().train(mode)
        for part in self.parts[: self.still]:
            part.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, n_outputs]."""
        outputs = torch.stack([part(x) for part in self.parts], -1)
        return (outputs * self.coefficients).sum(-1)
