"""The mean target of neighbours, weighted by softmax(−distance), in memory that does not grow with the pairs compared."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CLOSEST = 1e-6  # squared distance of rows that are closer, where rounding is larger than it
FARTHEST = 1e9  # distance of a row from itself
PAIRS = (
    2**20
)  # compared at once: 4 MiB a tensor; but of `FEWEST_ROWS` all, which a product of matrices needs to be fast
FEWEST_ROWS = 32


def mean_of_neighbours(
    query_BD: Tensor, key_MD: Tensor, y_MC: Tensor, log_weight_M: Tensor | None = None, own_B: Tensor | None = None
) -> Tensor:
    """Average targets over neighbours, weighted by softmax(logarithm of their weight − distance).

    Euclidean distances are one product of matrices, ‖a‖² + ‖b‖² − 2ab, of a tile of rows after the other. Gradients flow
    into `query_BD` and `key_MD`; for them the pairs are computed again, so that no more than four tensors of a tile's pairs
    are in memory.

    Args:
        query_BD: rows in the space.
        key_MD: neighbours in it.
        y_MC: the neighbours' targets.
        log_weight_M: logarithms of their weights; None: all alike.
        own_B: places among the neighbours of the rows themselves, which do not count; -1: it is none of them.

    Returns:
        Means [B, C].
    """
    mean_BC: Tensor = _Mean.apply(query_BD, key_MD, y_MC, log_weight_M, own_B)  # type: ignore[no-untyped-call]
    return mean_BC


def mean_at_once(query_BD: Tensor, key_MD: Tensor, y_MC: Tensor, log_weight_M: Tensor | None = None) -> Tensor:
    """Average as `mean_of_neighbours` without tiles, as a graph of an export holds it: who calls it cuts the rows.

    Args:
        query_BD: rows in the space.
        key_MD: neighbours in it.
        y_MC: the neighbours' targets.
        log_weight_M: logarithms of their weights; None: all alike.
    """
    squared_BM = torch.addmm(key_MD.square().sum(1), query_BD, key_MD.t(), alpha=-2)
    logit_BM = -(squared_BM + query_BD.square().sum(1, keepdim=True)).clamp_min(CLOSEST).sqrt()
    return (logit_BM if log_weight_M is None else logit_BM + log_weight_M).softmax(1) @ y_MC


def tile_rows(neighbours: int) -> int:
    """Return how many rows are compared at once with so many neighbours."""
    return max(FEWEST_ROWS, PAIRS // max(1, neighbours))


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_BD: Tensor, key_MD: Tensor, y_MC: Tensor, log_weight_M: Tensor | None, own_B: Tensor | None
    ) -> Tensor:
        mean_BC, total_B1 = query_BD.new_empty(len(query_BD), y_MC.shape[1]), query_BD.new_empty(len(query_BD), 1)
        for rows, distance_bM in _distances(query_BD, key_MD, own_B):
            logit_bM = distance_bM.neg_() if log_weight_M is None else torch.sub(log_weight_M, distance_bM)
            largest_b1 = logit_bM.amax(1, keepdim=True)
            weight_bM = logit_bM.sub_(largest_b1).exp_()
            sum_b1 = weight_bM.sum(1, keepdim=True)
            mean_BC[rows] = (weight_bM @ y_MC) / sum_b1
            total_B1[rows] = sum_b1.log() + largest_b1
        ctx.save_for_backward(query_BD, key_MD, y_MC, log_weight_M, own_B, total_B1, mean_BC)
        return mean_BC

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With h = ∂/∂logit / distance, a row's gradient is Σ h (neighbour − row), and a neighbour's the converse."""
        query_BD, key_MD, y_MC, log_weight_M, own_B, total_B1, mean_BC = ctx.saved_tensors
        (gradient_BC,) = gradients
        offset_B1 = -(gradient_BC * mean_BC).sum(1, keepdim=True)
        query_gradient_BD, key_gradient_MD = torch.empty_like(query_BD), torch.zeros_like(key_MD)
        total_M = key_MD.new_zeros(len(key_MD))
        for rows, distance_bM in _distances(query_BD, key_MD, own_B):
            weight_bM = torch.add(distance_bM, total_B1[rows]).neg_()
            weight_bM = (weight_bM if log_weight_M is None else weight_bM.add_(log_weight_M)).exp_()
            h_bM = torch.addmm(offset_B1[rows], gradient_BC[rows], y_MC.t()).mul_(weight_bM).div_(distance_bM)
            query_gradient_BD[rows] = torch.mm(h_bM, key_MD) - h_bM.sum(1, keepdim=True) * query_BD[rows]
            key_gradient_MD.addmm_(h_bM.t(), query_BD[rows])
            total_M += h_bM.sum(0)
        key_gradient_MD -= total_M[:, None] * key_MD
        return query_gradient_BD, key_gradient_MD, None, None, None


def _distances(query_BD: Tensor, key_MD: Tensor, own_B: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield tiles of rows and their distances [b, M] to all neighbours, in memory that the next tile takes."""
    norm_M, norm_B1 = key_MD.square().sum(1), query_BD.square().sum(1, keepdim=True)
    size = min(len(query_BD), tile_rows(len(key_MD)))
    memory_bM = query_BD.new_empty(size, len(key_MD))
    for start in range(0, len(query_BD), size or 1):
        rows = slice(start, min(start + size, len(query_BD)))
        tile_bM = memory_bM[: rows.stop - start]
        torch.addmm(norm_M, query_BD[rows], key_MD.t(), alpha=-2, out=tile_bM)
        tile_bM.add_(norm_B1[rows]).clamp_min_(CLOSEST).sqrt_()
        if own_B is not None:
            there = (own_B[rows] >= 0).nonzero().squeeze(1)
            tile_bM[there, own_B[rows][there]] = FARTHEST
        yield rows, tile_bM
