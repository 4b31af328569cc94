"""The places of a model's parameters in a member's row of the flat [K, P] tensor, and its other tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor, nn

from src.models.training_rows import row_tensors

ALIGN = 16  # floats: every parameter of every member starts on a cache line


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the trained parameters, in the order of their columns."""

    shapes: dict[str, torch.Size]

    @classmethod
    def of(cls, model: nn.Module) -> "Layout":
        """Lay out all parameters of `model` but the frozen ones."""
        return cls({name: p.shape for name, p in model.named_parameters() if p.requires_grad})

    @property
    def starts(self) -> list[int]:
        """The first column of each parameter, and the row's length at the end."""
        return list(accumulate((-(-s.numel() // ALIGN) * ALIGN for s in self.shapes.values()), initial=0))

    @cached_property
    def ends(self) -> tuple[slice, slice]:
        """The columns of the first and of the last layer's weights."""
        places = zip(self.starts, self.shapes.values(), strict=False)
        weights = [slice(start, start + shape.numel()) for start, shape in places if len(shape) > 1]
        return (weights[0], weights[-1]) if weights else (slice(None), slice(None))

    def stacked(self, flat_KP: Tensor) -> list[Tensor]:
        """View rows [K, P] as the parameters, [K, ...] each."""
        places = zip(self.starts, self.shapes.values(), strict=False)
        return [flat_KP[:, start : start + shape.numel()].view(-1, *shape) for start, shape in places]

    def split(self, flat_KP: Tensor) -> list[Tensor]:
        """View rows as `stacked` does, in a single operation: so is its derivative, where slices would add up whole rows."""
        filled = [shape.numel() for shape in self.shapes.values()]
        sizes = [size for n in filled for size in (n, -n % ALIGN)]
        parts = torch.split_with_sizes(flat_KP, sizes, 1)[::2]
        return [part.view(-1, *shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]

    def flatten(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Copy a model's parameters into a row [P]."""
        row_1P = torch.zeros(1, self.starts[-1])
        for name, view in zip(self.shapes, self.stacked(row_1P), strict=True):
            view[0] = parameters[name].detach()
        return row_1P[0]

    def unflatten(self, row_P: Tensor) -> dict[str, Tensor]:
        """View a row [P] as the parameters, by name."""
        return {name: view[0] for name, view in zip(self.shapes, self.stacked(row_P[None]), strict=True)}


def fixed(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that no optimizer changes, by name: buffers and frozen parameters, but no training rows."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    rows = row_tensors(model)
    return {name: buffer for name, buffer in model.named_buffers() if name not in rows} | frozen


def saved_names(model: nn.Module) -> dict[str, str]:
    """Return for each name in a `state_dict` the first name of its tensor: another one where it is shared.

    Training rows have none: a member says which are its own.
    """
    first = {id(t): name for name, t in reversed([*model.named_parameters(), *model.named_buffers()])}
    state = model.state_dict(keep_vars=True)
    rows = row_tensors(model)
    return {
        name: first[id(tensor)] for name, tensor in state.items() if isinstance(tensor, Tensor) and name not in rows
    }
