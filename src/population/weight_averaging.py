"""Running averages of the weights, to predict with: of every step (EMA), or of the ends of the last epochs (SWA)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import floor

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from src.population.member import Member
from src.population.stack import Stack


class Averages:
    """The averages of those members of a population that have one, rows of a tensor [K, P] that is not kept here.

    As torch's AveragedModel: an EMA (Polyak & Juditsky 1992) is updated after every step and begins as the weights after
    the first; an SWA (Izmailov et al. 2018) is the mean of the weights at the ends of the epochs after its start. Batch
    norm's statistics are measured anew for the averaged weights, as torch's `update_bn` does, but without dropout.
    """

    def __init__(self, members: Sequence[Member], epochs: Sequence[int], device: torch.device) -> None:
        """Read from the configs of `members`, which have done `epochs`, what each averages; `device` is theirs."""
        averaging = [member.config.training.averaging for member in members]
        self.places = [k for k, each in enumerate(averaging) if each.on]
        ema = [k for k, each in enumerate(averaging) if each.ema]
        self.starts = {
            k: floor(each.swa * members[k].config.epochs) for k, each in enumerate(averaging) if each.swa is not None
        }
        self.ema_E = torch.tensor(ema, dtype=torch.long, device=device)
        self._all = len(ema) == len(members)
        self._weight_E1 = torch.tensor([1 - averaging[k].ema for k in ema], device=device)[:, None]
        first = torch.tensor([epochs[k] == 0 for k in ema], dtype=torch.bool, device=device)[:, None]
        self._next_E1 = torch.where(first, 1.0, self._weight_E1)

    def step(self, p_KP: Tensor, average_KP: Tensor) -> None:
        """Take in `p_KP` after a step: changes `average_KP` in place."""
        if self._all:
            average_KP.lerp_(p_KP, self._next_E1)
        elif len(self.ema_E):
            average_KP[self.ema_E] = average_KP[self.ema_E].lerp_(p_KP[self.ema_E], self._next_E1)
        self._next_E1 = self._weight_E1

    def epoch(self, p_KP: Tensor, average_KP: Tensor, epochs: Sequence[int]) -> None:
        """Take in `p_KP` after an epoch, with which each member has `epochs`: changes `average_KP` in place."""
        for k, start in self.starts.items():
            average_KP[k].lerp_(p_KP[k], 1 / max(1, epochs[k] - start))

    def begun(self, epochs: Sequence[int]) -> list[int]:
        """Return the places of members whose average is not just the weights."""
        return [k for k in self.places if epochs[k] > self.starts.get(k, 0)]

    def tensors(
        self, stack: Stack, average_KP: Tensor, epochs: Sequence[int], batches: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Return what the members predict with: parameters [K, P], and batch norm's statistics by name [K, ...].

        None while every average is just the weights.

        Args:
            stack: the members' tensors; its own after this as before.
            average_KP: the averaged parameters, of those members that average.
            epochs: how many each member has done.
            batches: training rows [K, B] each, over which the statistics are measured.
        """
        index = torch.tensor(self.begun(epochs), dtype=torch.long, device=stack.device)
        if not len(index):
            return None
        p_KP = stack.p_KP.index_copy(0, index, average_KP[index])
        names = [name for name in stack.fixed if name.endswith((".running_mean", ".running_var"))]
        if not names:
            return p_KP, {}
        counts = [name for name in stack.fixed if name.endswith(".num_batches_tracked")]
        with stack.predicting_with(p_KP, {name: stack.fixed[name] for name in (*names, *counts)}):
            _measure(stack, batches)
            measured = {name: stack.fixed[name][index] for name in names}
        return p_KP, {name: stack.fixed[name].index_copy(0, index, measured[name]) for name in names}


def _measure(stack: Stack, batches: Sequence[Tensor]) -> None:
    """Set batch norm's statistics to their means over `batches`."""
    with _cumulative(stack) as norms, torch.no_grad():
        for number, index_KB in enumerate(batches, start=1):
            for norm in norms:
                norm.momentum = 1 / number
            stack.outputs_for_rows(index_KB)


@contextmanager
def _cumulative(stack: Stack) -> Iterator[list[_BatchNorm]]:
    """Put batch norms alone in training mode inside the block, and give back their momenta after it."""
    norms = [layer for module in stack.modules for layer in module.modules() if isinstance(layer, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    stack.eval_mode()
    for norm in norms:
        norm.train()
    try:
        yield norms
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
