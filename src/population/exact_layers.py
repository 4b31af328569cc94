"""Layers whose bits do not depend on how many members are computed at once.

PyTorch picks another kernel for one matrix product than for a batch of them, and computes the last elements of an array,
those that do not fill a vector, with another formula. These layers write their arithmetic in operations that keep their
bits alone and under `vmap`; `exact` puts them in the place of PyTorch's, parameters and names untouched.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from src.population.hashing import scramble

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017


class Linear(nn.Linear):
    """A product of one matrix is a batch of one: the same kernel, alone or stacked.

    The product is weight · inputᵀ, so that autograd's for the weight has its fast form too. It leaves the output
    transposed in memory; where `tight`, it is copied into the order that a user's module may `view`.
    """

    tight: bool

    def forward(self, input: Tensor) -> Tensor:
        """Multiply by the weight and add the bias."""
        rows = input if input.dim() == 2 else input.reshape(-1, self.in_features)
        if self.out_features == 1:  # products with one column may have a kernel of their own when they are alone
            out = (rows * self.weight).sum(1, keepdim=True)
        elif self.in_features == 1:
            out = rows * self.weight.t()
        else:
            out = torch.bmm(self.weight[None], rows.t()[None]).squeeze(0).t()
        out = out if self.bias is None else out + self.bias
        out = out.contiguous() if self.tight else out
        return out if input.dim() == 2 else out.reshape(*input.shape[:-1], self.out_features)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation of [B, F] in plain reductions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over the batch in training, by the running statistics in evaluation."""
        if input.dim() != 2:
            return super().forward(input)
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return self._scaled(input - self.running_mean, self.running_var)
        mean = input.mean(0)
        centred = input - mean
        variance = (centred * centred).mean(0)
        if self.training and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            with torch.no_grad():
                keep, unbiased = 1 - self.momentum, len(input) / (len(input) - 1)
                self.running_mean.mul_(keep).add_(mean, alpha=self.momentum)
                self.running_var.mul_(keep).add_(variance, alpha=self.momentum * unbiased)
                self.num_batches_tracked.add_(1)
        return self._scaled(centred, variance)

    def _scaled(self, centred: Tensor, variance: Tensor) -> Tensor:
        scale = torch.rsqrt(variance + self.eps)
        return centred * (scale * self.weight) + self.bias if self.affine else centred * scale


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis in plain reductions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each row over its last axis."""
        centred = input - input.mean(-1, keepdim=True)
        out = centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + self.eps)
        if self.weight is not None:
            out = out * self.weight
        return out if self.bias is None else out + self.bias


class GroupNorm(nn.GroupNorm):
    """Group normalisation of [B, F] in plain reductions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each row within its groups."""
        if input.dim() != 2:
            return super().forward(input)
        grouped = input.reshape(len(input), self.num_groups, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        out = (centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + self.eps)).reshape(input.shape)
        return out * self.weight + self.bias if self.affine else out


class Dropout(nn.Dropout):
    """Dropout whose mask is a hash of (a key of the member, layer and step; the element): no generator, so no company shows.

    An element is kept where the hash is at least `threshold`, and scaled by `scale`. These are buffers, as is `key`, so
    that every member of a stack has its own. The hash of x is x (2x + 1) mod 2³², RC6's permutation, of a scrambled place
    plus the key: masks of any two keys are independent in pairs.
    """

    key: Tensor
    threshold: Tensor
    scale: Tensor
    active: bool

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements in training by the hash of their places and the key."""
        if not (self.training and self.active):
            return input
        with torch.no_grad():
            x = _places(tuple(input.shape), input.device) + self.key
            mask = (torch.addcmul(x, x, x, value=2) >= self.threshold) * self.scale
        return input * mask


@lru_cache(maxsize=64)
def _places(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a scrambled number for each element of a tensor; of a matrix in the order in which `Linear` leaves it."""
    scrambled = scramble(torch.arange(math.prod(shape), dtype=torch.int32, device=device))
    return scrambled.view(*reversed(shape)).t() if len(shape) == 2 else scrambled.view(shape)


class Sigmoid(nn.Sigmoid):
    """The sigmoid by the hyperbolic tangent, which has one formula for all elements."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute 1 / (1 + exp(-x))."""
        return _sigmoid(input)


class SiLU(nn.SiLU):
    """The activation x · sigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute x · sigmoid(x)."""
        return super().forward(input) if input.dim() == 4 else input * _sigmoid(input)


class GELU(nn.GELU):
    """The activation x · Φ(x), by the error function or its usual approximation."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute x · Φ(x)."""
        if input.dim() == 4:  # behind a convolution, which has bits of its own in a stack anyway
            return super().forward(input)
        if self.approximate == "none":
            return input * (torch.erf(input * 0.5**0.5) * 0.5 + 0.5)
        inner = (input + 0.044715 * (input * input * input)) * (2 / math.pi) ** 0.5
        return input * (torch.tanh(inner) * 0.5 + 0.5)


class ELU(nn.ELU):
    """The activation x above 0, else α (exp(x) - 1)."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute x above 0, else α (exp(x) - 1)."""
        return torch.relu(input) + torch.expm1(input.clamp(max=0)) * self.alpha


class SELU(nn.SELU):
    """A scaled ELU that keeps mean 0 and variance 1."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute λ x above 0, else λ α (exp(x) - 1)."""
        return (torch.relu(input) + torch.expm1(input.clamp(max=0)) * SELU_ALPHA) * SELU_SCALE


class Mish(nn.Mish):
    """The activation x · tanh(softplus(x))."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute x · tanh(log(1 + exp(x)))."""
        return input * torch.tanh(torch.relu(input) + torch.log1p(torch.exp(-input.abs())))


def _sigmoid(x: Tensor) -> Tensor:
    return torch.tanh(x * 0.5) * 0.5 + 0.5


EXACT: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: Linear,
    nn.BatchNorm1d: BatchNorm1d,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
    nn.Dropout: Dropout,
    nn.Sigmoid: Sigmoid,
    nn.SiLU: SiLU,
    nn.GELU: GELU,
    nn.ELU: ELU,
    nn.SELU: SELU,
    nn.Mish: Mish,
}


def exact(model: nn.Module, tight: bool = True) -> nn.Module:
    """Turn PyTorch's layers into those of this file, in place; other classes stay as they are.

    `tight`: linear layers leave their outputs contiguous, as PyTorch's do.
    """
    for layer in model.modules():
        if type(layer) is nn.BatchNorm1d and layer.momentum is None:
            continue  # a cumulative average needs the count as a number, which vmap has not
        if type(layer) is nn.LayerNorm and len(layer.normalized_shape) > 1:
            continue
        layer.__class__ = EXACT.get(type(layer), type(layer))
        if isinstance(layer, Linear):
            layer.tight = tight
        elif isinstance(layer, Dropout):
            layer.active = layer.p > 0
            threshold = min(round(layer.p * 2**32) - 2**31, 2**31 - 1)
            layer.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)
            layer.register_buffer("threshold", torch.tensor(threshold, dtype=torch.int32), persistent=False)
            layer.register_buffer("scale", torch.tensor(1 / max(1 - layer.p, 2**-32)), persistent=False)
    return model
