"""Nets that predict for the same rows: those of one signature as one stacked computation, while that is the faster way."""

import copy
import threading
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.building import n_operations
from src.population.vmapped import Stacked

# A stack saves what it costs to call a net; beyond so many multiply-adds of each net a batch, arithmetic outweighs calls,
# and a batch of large products is slower than one after another (benchmarks/serving.py).
WORTH_STACKING = 2**21


class Fused:
    """A call gives the raw outputs [L, N, C] of all nets, as each alone to float32's precision. Any thread may call."""

    def __init__(self, nets: Sequence[nn.Module], signatures: Sequence[str], input_shape: tuple[int, ...]) -> None:
        """`nets` in eval mode; those of equal signature differ in their tensors alone, which they share from now on."""
        places: dict[str, list[int]] = {}
        for place, signature in enumerate(signatures):
            places.setdefault(signature, []).append(place)
        self.groups = [Group([nets[place] for place in own], input_shape) for own in places.values()]
        order = [place for own in places.values() for place in own]
        self._back = None if order == sorted(order) else torch.tensor(order).argsort()

    def __call__(self, x: Tensor) -> Tensor:
        outputs = [group(x) for group in self.groups]
        output_LNC = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return output_LNC if self._back is None else output_LNC[self._back]


class Group:
    """The nets of one signature. A net whose way forward cannot be stacked (a user's own may not) is called by itself."""

    def __init__(self, nets: Sequence[nn.Module], input_shape: tuple[int, ...]) -> None:
        self.nets, self._lock = nets, threading.Lock()  # a stacked call writes into the module
        self.rows = WORTH_STACKING // max(n_operations(nets[0], input_shape), 1) if len(nets) > 1 else 0
        named = [dict(net.named_parameters()) | dict(net.named_buffers()) for net in nets] if self.rows else [{}]
        self._stacked = Stacked(copy.deepcopy(nets[0]), named[0])
        self._tensors = [torch.stack([own[name].detach() for own in named]) for name in named[0]]
        if self.rows and not self._agree(torch.zeros(2, *input_shape)):
            self.rows, self._tensors = 0, []
        for name, tensor in zip(named[0], self._tensors, strict=False):
            for own, row in zip(named, tensor, strict=True):
                own[name].data = row  # in memory once

    def __call__(self, x: Tensor) -> Tensor:
        if len(x) > self.rows:
            return torch.stack([net(x) for net in self.nets])
        with self._lock:
            return self._stacked(x, self._tensors, shared=True)

    @torch.no_grad()
    def _agree(self, x: Tensor) -> bool:
        alone = torch.stack([net(x) for net in self.nets])
        try:
            stacked = self._stacked(x, self._tensors, shared=True)
        except Exception:  # whatever a module does that a stack cannot
            return False
        return stacked.shape == alone.shape and torch.allclose(stacked, alone, rtol=1e-4, atol=1e-5, equal_nan=True)
