"""Statistics of how members learn in an epoch, beside their losses: curves from which a diagnosis is read.

They cost a few passes over the parameters an epoch, and a forward of a few rows now and then. No bit of the training
follows from them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from src.population.member import Member
from src.population.stack import Stack
from src.population.vmapped import Stacked

ROWS = 128  # at most, and one in `SHARE`: on which the training metric is taken and units may fire
SHARE = 8
LOOK = 64  # steps between two such looks; short epochs in between repeat the last
TINY = torch.finfo(torch.float32).tiny
LOOKED = ("dead/share", "train/accuracy", "train/rmse")
NAMES = ("grad/norm", "grad/ratio", "update/ratio", *LOOKED)
RECTIFIERS = (nn.ReLU, nn.ReLU6)


class Statistics:
    """The statistics of one epoch: made before its first step, shown every step's gradients, asked after its last.

    - `grad/norm`: length of the gradient at a step in the middle of the epoch, before the optimizer sees it
    - `grad/ratio`: that of the first layer's weights over that of the last layer's
    - `update/ratio`: how far the epoch has moved the parameters, as a share of their length
    - `dead/share`: of the units behind a rectifier (channels of a convolution), those that no row makes fire
    - `train/accuracy` or `train/rmse`: in evaluation mode on a few training rows
    """

    def __init__(self, stack: Stack, epochs: Sequence[int], steps: int) -> None:
        """Begin an epoch of `steps` steps; `epochs`: how many each member of the `stack` has done."""
        self.stack, self._steps_to_look = stack, steps // 2
        every = -(-LOOK // steps)
        self._due_K = [epoch % every == 0 for epoch in epochs]
        self._before_KP = stack.p_KP.clone()
        self._norms: dict[str, Tensor] = {}

    def see(self, g_KP: Tensor) -> None:
        """Take in the gradients of the next step."""
        if self._steps_to_look == 0:
            first, last = self.stack.layout.ends
            ratio_K = _norm(g_KP[:, first]) / _norm(g_KP[:, last]).clamp(min=TINY)  # 0 where nothing has a gradient
            self._norms = {"grad/norm": _norm(g_KP), "grad/ratio": ratio_K}
        self._steps_to_look -= 1

    def points(self, curves: Sequence[Mapping[str, Sequence[float]]]) -> list[dict[str, float]]:
        """Return the epoch's point of each member's curves, given the `curves` before it."""
        moved_K = _norm(self.stack.p_KP.detach() - self._before_KP) / _norm(self._before_KP).clamp(min=TINY)
        points = _transposed(self._norms | {"update/ratio": moved_K})
        looks = _transposed(self._look()) if any(self._due_K) else [{} for _ in points]
        for point, look, due, curve in zip(points, looks, self._due_K, curves, strict=True):
            point |= look if due else {name: curve[name][-1] for name in LOOKED if name in curve}
        return points

    def _look(self) -> dict[str, Tensor]:
        """Compute what a forward of a few rows shows, columns [K] by name."""
        stack, data, first = self.stack, self.stack.data, self.stack.members[0]
        shared = first.rows is None and first.weights is None
        rows = [_sample(member, len(data.x_train)) for member in (stack.members[:1] if shared else stack.members)]
        index = torch.from_numpy(rows[0] if shared else np.stack(rows)).to(stack.device)
        x, y_KN = data.x_train[index], data.y_train[index].expand(stack.size, -1)
        output_KNC, highest_KU = self._forward(x, shared, y_KN.shape[1])
        columns = {"dead/share": (highest_KU <= 0).float().mean(1)} if highest_KU.shape[1] else {}
        if data.classification:
            return columns | {"train/accuracy": (output_KNC.argmax(2) == y_KN).float().mean(1)}
        rmse_K = (output_KNC.squeeze(2) - y_KN).square().mean(1).sqrt()
        return columns | {"train/rmse": rmse_K * data.meta.target_std}

    def _forward(self, x: Tensor, shared: bool, rows: int) -> tuple[Tensor, Tensor]:
        """Compute outputs [K, N, C], and how high each unit behind a rectifier fires for any row [K, U].

        `x` are `rows` rows, the same for all members where `shared`, else [K, N, ...].
        """
        stack = self.stack
        stack.eval_mode()
        with torch.no_grad():
            if stack.fused:
                names = [f"model.{name}" for name in (*stack.layout.shapes, *stack.fixed)]
                vmapped = Stacked(Watched(stack.modules[0]), names)
                flat_KF = vmapped(x, [*stack.leaves, *stack.fixed.values()], shared=shared)
            else:
                inputs = [x] * stack.size if shared else x.unbind()
                pairs = zip(stack.modules, inputs, strict=True)
                flat_KF = torch.stack([Watched(module)(member_x) for module, member_x in pairs])
        end = rows * stack.data.meta.n_outputs
        return flat_KF[:, :end].view(stack.size, rows, -1), flat_KF[:, end:]


class Watched(nn.Module):
    """A model whose output, made flat, is followed by the highest value of each unit behind a rectifier over the rows."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's outputs for `x`, flat, and then the highest value of each unit."""
        highest: list[Tensor] = []

        def look(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            axes = [0, *range(2, output.dim())] if output.dim() > 3 else [*range(output.dim() - 1)]
            highest.append(output.amax(axes))

        hooks = [m.register_forward_hook(look) for m in self.model.modules() if isinstance(m, RECTIFIERS)]
        try:
            return torch.cat([self.model(x).flatten(), *highest])
        finally:
            for hook in hooks:
                hook.remove()


def _sample(member: Member, n: int) -> NDArray[np.int64]:
    """Choose rows evenly spread over those that a member learns from, as many for all of a signature."""
    rows, learnt = member.rows, n if member.rows is None else len(member.rows)
    count = max(1, min(ROWS, learnt // SHARE))
    if member.weights is not None:
        rows = np.arange(n) if rows is None else rows
        rows = rows[member.weights[rows] > 0]
    places = np.linspace(0, (learnt if rows is None else len(rows)) - 1, count).astype(np.int64)
    return places if rows is None else rows[places]


def _norm(x_KP: Tensor) -> Tensor:
    norm_K: Tensor = torch.linalg.vector_norm(x_KP, dim=1)
    return norm_K


def _transposed(columns: dict[str, Tensor]) -> list[dict[str, float]]:
    """Turn columns [K] by name into a dict of numbers for each member."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
