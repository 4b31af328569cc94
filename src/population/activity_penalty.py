"""The penalty on activities, which are the outputs of activation layers: the rows' mean of l1 · Σ|a| + l2 · Σa²."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch

from src.population.hyperparameters import column
from src.population.member import Member

LAYERS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)


@contextmanager
def tapped(modules: Sequence[nn.Module], on: bool = True) -> Iterator[list[tuple[int, Tensor]]]:
    """Collect the outputs of activation layers inside the block, if `on`.

    Each is (place of its module in `modules`, output [B, ...]), under `vmap` [K, B, ...].
    """
    taps: list[tuple[int, Tensor]] = []

    def tap(place: int) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: object, output: Tensor) -> None:
            if functorch.is_batchedtensor(output):
                output = functorch.get_unwrapped(output).movedim(functorch.maybe_get_bdim(output), 0)
            if output.requires_grad:  # behind frozen layers nothing can be done about it
                taps.append((place, output))

        return hook

    layers = [(k, layer) for k, module in enumerate(modules if on else ()) for layer in module.modules()]
    handles = [layer.register_forward_hook(tap(k)) for k, layer in layers if isinstance(layer, LAYERS)]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


class Activity:
    """The penalty of a population, each member with its strengths `training.regularization.activity.l1` and `.l2`."""

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        self.l1_K1 = column(members, lambda training: training.regularization.activity.l1, device)
        self.l2_K1 = column(members, lambda training: training.regularization.activity.l2, device)

    @property
    def on(self) -> bool:
        """True where any member has the penalty."""
        return self.l1_K1 is not None or self.l2_K1 is not None

    def gradient(self, place: int, activity: Tensor, rows: int, fused: bool) -> Tensor:
        """Return the penalty's gradient by an activity. It takes no sum, so that a member has the same bits alone.

        Args:
            place: the member whose `activity` it is, where not `fused`.
            activity: an output that was tapped, [B, ...], or where `fused` [K, B, ...].
            rows: how many the whole batch has.
            fused: one tensor for all members.
        """
        total = torch.zeros_like(activity)
        for strength_K1, slope in ((self.l1_K1, activity.sign()), (self.l2_K1, 2 * activity)):
            if strength_K1 is not None:
                strength = strength_K1.view(-1, *[1] * (activity.dim() - 1)) if fused else strength_K1[place]
                total += slope * (strength / rows)
        return total
