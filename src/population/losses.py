"""The loss that trains, and the points of the curves, both from a model's outputs."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from src.metrics.predictions import ClassPredictions, ValuePredictions
from src.metrics.scoring import epoch_curves
from src.system.data_meta import DataMeta


def losses(output_KBC: Tensor, y_KB: Tensor, smoothing_K1: Tensor | None = None) -> Tensor:
    """Return the loss of every row [K, B]: cross-entropy for classes, else the square of the standardised error.

    Args:
        output_KBC: logits or standardised values; of several heads [K, B, heads, C], whose losses are averaged.
        y_KB: classes as whole numbers, or standardised targets.
        smoothing_K1: each member's share of the uniform distribution in its targets; None: none.
    """
    if output_KBC.ndim == 4:
        heads = output_KBC.shape[2]
        loss_KBh = losses(output_KBC.flatten(1, 2), y_KB.repeat_interleave(heads, 1), smoothing_K1)
        return loss_KBh.view(len(loss_KBh), -1, heads).mean(2)
    if y_KB.is_floating_point():
        return (output_KBC.squeeze(2) - y_KB).square()
    log_KCB = log_probabilities(output_KBC)
    loss_KB = -log_KCB.gather(1, y_KB[:, None]).squeeze(1)
    if smoothing_K1 is None:
        return loss_KB
    return loss_KB * (1 - smoothing_K1) - log_KCB.mean(1) * smoothing_K1


def loss_of_targets(output_KBC: Tensor, targets: Sequence[Tensor], smoothing_K1: Tensor | None) -> Tensor:
    """Return the loss of every row [K, B]: of its target, or the weighted sum over several.

    `output_KBC` and `smoothing_K1` are as in `losses`; `targets` is one tensor [K, B], or each followed by its weights.
    """
    if len(targets) == 1:
        return losses(output_KBC, targets[0], smoothing_K1)
    pairs = zip(targets[::2], targets[1::2], strict=True)
    return reduce(add, (losses(output_KBC, y_KB, smoothing_K1) * weight_KB for y_KB, weight_KB in pairs))


def score(
    output_KNC: Tensor, y_KN: Tensor, meta: DataMeta, metrics: Sequence[str] = ()
) -> tuple[list[dict[str, float]], Tensor]:
    """Return points of the curves, and predictions: probabilities [K, N, C], or values in the target's unit [K, N].

    Args:
        output_KNC: logits or standardised values.
        y_KN: classes or standardised targets.
        meta: describes the data; has the target's unit.
        metrics: names of those that are wanted beside those of every epoch.
    """
    if y_KN.is_floating_point():
        scale = meta.target_std
        output_KN = output_KNC.squeeze(2)
        values = ValuePredictions(*((scale * part_KN).cpu().numpy() for part_KN in (output_KN, y_KN)))
        means = losses(output_KNC, y_KN).mean(1).tolist()
        curves = {"val/loss": means, "val/rmse": [scale * loss**0.5 for loss in means]} | epoch_curves(values, metrics)
        return _points(curves), in_target_unit(output_KN, meta)
    log_KCN = log_probabilities(output_KNC)
    loss_K = -log_KCN.gather(1, y_KN[:, None]).squeeze(1).mean(1)
    p_KNC = log_KCN.exp().transpose(1, 2)
    classes_KN = log_KCN.max(1).indices  # `argmax` takes ten times as long
    classes = ClassPredictions(*(part.cpu().numpy() for part in (p_KNC, y_KN, classes_KN)))
    return _points({"val/loss": loss_K.tolist()} | epoch_curves(classes, metrics)), p_KNC


def in_target_unit(standardised: Tensor, meta: DataMeta) -> Tensor:
    """Bring standardised values into the target's unit, in 64 bits where 32 would lose a millionth of the spread.

    Args:
        standardised: outputs or targets of any shape.
        meta: describes the data; has mean and deviation of the target.
    """
    mean, std = meta.target_mean, meta.target_std
    if abs(mean) * torch.finfo(torch.float32).eps / 2 > 1e-6 * std:
        standardised = standardised.double()
    values: Tensor = standardised * std + mean
    return values


def _points(curves: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """A point of each member's curves, from values [K] by the name of the curve."""
    return [dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)]


def log_probabilities(logits_KBC: Tensor) -> Tensor:
    """Return log probabilities [K, C, B] of logits [K, B, C].

    The classes are on the middle axis, since along a last one of a few classes it takes ten times as long.
    """
    return logits_KBC.transpose(1, 2).log_softmax(1)
