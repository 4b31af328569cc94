"""Layers whose bits do not depend on how many members are computed at once.

PyTorch picks another kernel for one matrix product than for a batch of them, and its fused normalisations sum in another
order when they are vectorised. These layers say their arithmetic in operations that keep their order alone and under
`vmap`; `exact` puts them in the place of PyTorch's, parameters and names untouched.
"""

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """A product of one matrix is a batch of one: the same kernel, alone or stacked."""

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(1, -1, self.in_features)
        out = torch.bmm(rows, self.weight.t()[None])[0]
        out = out if self.bias is None else out + self.bias
        return out if input.dim() == 2 else out.reshape(*input.shape[:-1], self.out_features)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation of [B, F] in plain reductions."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            assert self.running_mean is not None
            assert self.running_var is not None
            return self._scaled(input - self.running_mean, self.running_var)
        mean = input.mean(0)
        centred = input - mean
        variance = (centred * centred).mean(0)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                momentum = 0.1 if self.momentum is None else self.momentum
                unbiased = variance * (len(input) / (len(input) - 1))
                self.running_mean.mul_(1 - momentum).add_(mean * momentum)
                self.running_var.mul_(1 - momentum).add_(unbiased * momentum)
                self.num_batches_tracked.add_(1)
        return self._scaled(centred, variance)

    def _scaled(self, centred: Tensor, variance: Tensor) -> Tensor:
        out = centred * torch.rsqrt(variance + self.eps)
        return out * self.weight + self.bias if self.affine else out


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis in plain reductions."""

    def forward(self, input: Tensor) -> Tensor:
        centred = input - input.mean(-1, keepdim=True)
        out = centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + self.eps)
        if self.weight is not None:
            out = out * self.weight
        return out if self.bias is None else out + self.bias


class Dropout(nn.Dropout):
    """Dropout whose mask is a hash of (the member's key, this layer, the element): no generator, so no company shows.

    `strength` and `key` are buffers, so that every member of a stack has its own. The hash is Wellons' lowbias32.
    """

    strength: Tensor
    key: Tensor
    place: int
    active: bool

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.active):
            return input
        with torch.no_grad():
            index = torch.arange(input.numel(), dtype=torch.int32, device=input.device).reshape(input.shape)
            bits = mix(index + mix(self.key + self.place)) & 0xFFFFFF
            keep = (bits >= self.strength * 0x1000000).to(input.dtype) / (1 - self.strength)
        return input * keep


def mix(x: Tensor) -> Tensor:
    """A bijective hash of int32 with wrap-around arithmetic; every input bit changes half of the output bits."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -0x7B935975
    return x ^ ((x >> 16) & 0xFFFF)


EXACT: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: Linear,
    nn.BatchNorm1d: BatchNorm1d,
    nn.LayerNorm: LayerNorm,
    nn.Dropout: Dropout,
}


def exact(model: nn.Module) -> nn.Module:
    """Put the layers of this page in the place of PyTorch's, in place."""
    for place, layer in enumerate(model.modules()):
        if type(layer) is nn.BatchNorm1d and layer.momentum is None:
            continue  # a cumulative average needs the count as a number, which vmap has not
        if type(layer) is nn.LayerNorm and len(layer.normalized_shape) > 1:
            continue
        layer.__class__ = EXACT.get(type(layer), type(layer))
        if isinstance(layer, Dropout):
            layer.place, layer.active = place * 0x9E37 + 1, True
            layer.register_buffer("strength", torch.tensor(float(layer.p)), persistent=False)
            layer.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)
    return model
