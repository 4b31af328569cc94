"""The ensemble as one module: nets make members, and a joint makes one answer of theirs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Sum(nn.Module):
    """A boosted member: the raw outputs of its nets [N, C], summed with coefficients."""

    coefficients: Tensor

    def __init__(self, nets: Sequence[nn.Module], coefficients: Sequence[float]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.register_buffer("coefficients", torch.tensor(coefficients, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        raw_LNC = torch.stack([net(x) for net in self.nets]).double()
        return (self.coefficients[:, None, None] * raw_LNC).sum(0)


class EnsembleModule(nn.Module):
    """Prepared rows x [N, ...] in; probabilities [N, C], or values [N] in the target's unit, out.

    Behind the nets it computes in float64, as the combiners did when they were fitted.
    """

    sums_ML: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, members: Sequence[nn.Module], mixture: nn.Module, meta: Mapping[str, Any]) -> None:
        super().__init__()
        parts = [list(m.nets) if isinstance(m, Sum) else [m] for m in members]
        self.nets = nn.ModuleList(net for own in parts for net in own)
        self.mixture = mixture
        self.plain = all(not isinstance(member, Sum) for member in members)
        sums_ML, done = torch.zeros(len(parts), len(self.nets), dtype=torch.float64), 0
        for row, member, own in zip(sums_ML, members, parts, strict=True):
            row[done : done + len(own)] = member.coefficients if isinstance(member, Sum) else 1.0
            done += len(own)
        self.register_buffer("sums_ML", sums_ML)
        self.classification = meta["task"] == "classification"
        for name in ("target_mean", "target_std"):  # as buffers: ONNX would round plain numbers to 32 bits
            self.register_buffer(name, torch.tensor(meta[name], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.stack([net(x) for net in self.nets]))

    def join(self, raw_LNC: Tensor) -> Tensor:
        """What the nets' raw outputs come to."""
        raw_MNC = raw_LNC.double() if self.plain else torch.tensordot(self.sums_ML, raw_LNC.double(), 1)
        predictions = (
            raw_MNC.softmax(-1) if self.classification else raw_MNC[..., 0] * self.target_std + self.target_mean
        )
        joined: Tensor = self.mixture(predictions)
        return joined
