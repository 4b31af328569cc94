"""Fused prediction of many nets for the same rows: those of one signature as one stack, while that is the faster way."""

import copy
import threading
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.building import n_operations
from src.models.training_rows import parts_with_rows
from src.population.vmapped import Stacked

# A stack saves what it costs to call a net; beyond so many multiply-adds of each net a batch, arithmetic outweighs calls,
# and a batch of large products is slower than one after another (benchmarks/serving.py).
WORTH_STACKING = 2**21


class Fused:
    """A function from rows [N, ...] to the raw outputs [M, N, C] of all nets, as each alone to float32's precision.

    Any thread may call it.
    """

    def __init__(self, nets: Sequence[nn.Module], signatures: Sequence[str], input_shape: tuple[int, ...]) -> None:
        """Stack the nets of equal signature, whose tensors share the memory of the stack from now on.

        Args:
            nets: in eval mode.
            signatures: a text for each; nets of equal signature differ in their tensors alone.
            input_shape: of one row.
        """
        positions: dict[str, list[int]] = {}
        for position, signature in enumerate(signatures):
            positions.setdefault(signature, []).append(position)
        self.groups = [Group([nets[k] for k in alike], input_shape) for alike in positions.values()]
        order = [k for alike in positions.values() for k in alike]
        self._back = None if order == sorted(order) else torch.tensor(order).argsort()

    def __call__(self, x: Tensor) -> Tensor:
        outputs = [group(x) for group in self.groups]
        output_MNC = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return output_MNC if self._back is None else output_MNC[self._back]


class Group:
    """The nets of one signature. Where they cannot be stacked (a user's own may not), each is called by itself.

    Nor are nets that look up training rows, since each may have another number of them.
    """

    def __init__(self, nets: Sequence[nn.Module], input_shape: tuple[int, ...]) -> None:
        self.nets, self._lock = nets, threading.Lock()  # a stacked call writes into the module
        alone = len(nets) == 1 or parts_with_rows(nets[0])
        self.rows = 0 if alone else WORTH_STACKING // max(n_operations(nets[0], input_shape), 1)
        tensors = [dict(net.named_parameters()) | dict(net.named_buffers()) for net in nets] if self.rows else [{}]
        self._stacked = Stacked(copy.deepcopy(nets[0]), tensors[0])
        self._tensors = [torch.stack([each[name].detach() for each in tensors]) for name in tensors[0]]
        if self.rows and not self._agree(torch.zeros(2, *input_shape)):
            self.rows, self._tensors = 0, []
        for name, tensor in zip(tensors[0], self._tensors, strict=False):
            for each, row in zip(tensors, tensor, strict=True):
                each[name].data = row  # in memory once

    def __call__(self, x: Tensor) -> Tensor:
        if not self.rows or len(x) > self.rows:
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
