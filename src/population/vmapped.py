"""One module that computes with the tensors of all members at once."""

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor, nn, zeros
from torch._C import _functorch as functorch
from torch.func import vmap


class Stacked:
    """A module under `torch.func.vmap` and `functional_call`, without their bookkeeping at every step.

    That takes longer than the arithmetic of a small net. So the entries of the module that hold the tensors (several for
    one that is shared) are looked up once, and the tensors are wrapped by what `vmap` itself calls.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        """Find where the tensors of these `names`, parameters or buffers, stand in `module`."""
        owners: dict[int, list[tuple[dict[str, Tensor], str]]] = {}
        for layer in module.modules():
            for entries in (layer._parameters, layer._buffers):
                for key, tensor in entries.items():
                    owners.setdefault(id(tensor), []).append((cast(dict[str, Tensor], entries), key))
        tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        self._owners = [owners[id(tensors[name])] for name in names]
        self._module = module
        vmap(Tensor.neg)(zeros(1))  # loads the rules of operations that have theirs in Python

    def __call__(self, x: Tensor, tensors: Sequence[Tensor], shared: bool) -> Tensor:
        """Compute outputs [K, ...] for `tensors` [K, ...], in the order of the names, and `x` [K, ...], one if `shared`."""
        size = len(tensors[0])
        level = functorch._vmap_increment_nesting(size, "error")
        try:
            for owners, tensor in zip(self._owners, tensors, strict=True):
                wrapped = functorch._add_batch_dim(tensor, 0, level)
                for entries, key in owners:
                    entries[key] = wrapped
            output = self._module(x if shared else functorch._add_batch_dim(x, 0, level))
            return functorch._remove_batch_dim(output, level, size, 0)
        finally:
            functorch._vmap_decrement_nesting()
