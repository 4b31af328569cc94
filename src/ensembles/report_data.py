"""Data of the report about an ensemble, computed from what its members predict: `judged.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles import evaluation, forward_selection
from src.ensembles.final_member import FinalMember, member_weights
from src.ensembles.selection import Candidate
from src.metrics.listing import metrics
from src.metrics.measures.ece import reliability
from src.metrics.scoring import row_losses

DISPUTED = 12  # rows shown
LONGEST = 30  # members of the path of the best few


def on_validation(
    task: str,
    by: str,
    pool: Sequence[FinalMember],
    candidates: Mapping[str, Candidate],
    winner: str,
    y_val: NDArray[Any],
    sizes: Sequence[int],
) -> dict[str, Any]:
    """Compute how members differ, what n of them are worth and what an ensemble costs, on the validation rows.

    Args:
        task: `classification` or `regression`.
        by: the metric that chooses, lower is better.
        pool: all members.
        candidates: the ensembles that were tried, by name.
        winner: the name of the chosen one.
        y_val: targets of the validation rows [N].
        sizes: parameters of each member.
    """
    chosen = candidates[winner]
    val_MNC = np.stack([member.val_predictions for member in pool])
    pairs = evaluation.diversity(val_MNC, y_val)
    points, axes = evaluation.embedding(np.concatenate([val_MNC, chosen.val[None]]))
    share = dict(zip(chosen.positions, chosen.shares.tolist(), strict=True))
    return {
        "task": task,
        "by": by,
        "members": [
            {"name": m.title, "model": m.model, "parameters": size, "share": share.get(k, 0.0), "at": points[k]}
            for k, (m, size) in enumerate(zip(pool, sizes, strict=True))
        ],
        "at": points[-1],
        "axes": axes,
        "diversity": pairs,
        "ensembles": {name: _ensemble(pool, each, pairs, sizes, y_val) for name, each in candidates.items()},
        "growth": evaluation.growth(task, val_MNC[chosen.positions], y_val, by),
        "frontier": _frontier(task, by, pool, candidates, sizes, y_val),
    }


def _ensemble(
    pool: Sequence[FinalMember], each: Candidate, pairs: Mapping[str, Any], sizes: Sequence[int], y_val: NDArray[Any]
) -> dict[str, Any]:
    """Its cost, the mean over its pairs of members, and what it gains from their differing."""
    pairs_of_used = np.ix_(each.used, each.used)
    members = np.stack([pool[k].val_predictions for k in each.positions])
    return {
        "members": len(each.used),
        "parameters": sum(sizes[k] for k in each.used),
        **{name: evaluation.mean_pair(pair[pairs_of_used]) for name, pair in pairs.items()},
        **{f"squared_{name}": value for name, value in evaluation.ambiguity(members, y_val, each.shares).items()},
    }


def _frontier(
    task: str,
    by: str,
    pool: Sequence[FinalMember],
    candidates: Mapping[str, Candidate],
    sizes: Sequence[int],
    y: NDArray[Any],
) -> dict[str, Any]:
    """Single members, what was candidates, and the best few together, by cost and value on the validation rows."""
    val_MNC = np.stack([member.val_predictions for member in pool])
    order = forward_selection.order(val_MNC, y, LONGEST)
    path = forward_selection.losses_by_size(val_MNC, y, LONGEST)
    names = [m.title for m in pool] + list(candidates) + [f"the best {n} together" for n in range(2, len(path) + 1)]
    costs = [*sizes, *(sum(sizes[k] for k in each.used) for each in candidates.values())]
    costs += [sum(sizes[k] for k in order[:n]) for n in range(2, len(path) + 1)]
    single = [row_losses(task, member.val_predictions, y)[by] for member in pool]
    losses = np.stack([*single, *(row_losses(task, each.val, y)[by] for each in candidates.values()), *path[1:]])
    place, limit = evaluation.smallest(costs, losses)
    figure = metrics()[by].from_mean
    values = figure(losses.mean(1)).tolist()
    kinds = ["member"] * len(pool) + ["ensemble"] * len(candidates) + ["best few"] * (len(path) - 1)
    front = evaluation.frontier(costs, values)
    return {
        "limit": float(figure(np.asarray(limit))),
        "smallest": names[place],
        "points": [
            {"name": name, "kind": kind, "parameters": cost, "value": value, "on_front": k in front}
            for k, (name, kind, cost, value) in enumerate(zip(names, kinds, costs, values, strict=True))
        ],
    }


def on_test(
    task: str,
    pool: Sequence[FinalMember],
    chosen: Candidate,
    members_MNC: NDArray[Any],
    ensemble: NDArray[Any],
    single: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
) -> dict[str, Any]:
    """Compute calibration on the test rows, and find those on which the members of the chosen ensemble differ most.

    Args:
        task: `classification` or `regression`.
        pool: all members.
        chosen: the ensemble.
        members_MNC: what its members predict, as they are served: [M, N, C] or [M, N].
        ensemble: what it predicts, [N, C] or [N].
        single: what the best single member predicts, [N, C] or [N].
        x: prepared test rows [N, ...]; of images, those that differ most are drawn.
        y: their targets [N].
    """
    rows = evaluation.disputed(members_MNC, member_weights([pool[k] for k in chosen.positions]), DISPUTED)
    pictures = x.ndim == 4 and x.shape[1] in (1, 3)
    data: dict[str, Any] = {"disputed": [_row(int(r), members_MNC[:, r], ensemble[r], y[r]) for r in rows]}
    if pictures:
        for line, r in zip(data["disputed"], rows, strict=True):
            line["image"] = _image(x[r])
    if task == "classification":
        data["reliability"] = {"chosen": reliability(ensemble, y), "single": reliability(single, y)}
    return data


def _row(row: int, members: NDArray[Any], ensemble: NDArray[Any], truth: Any) -> dict[str, Any]:
    """The answers to one row: classes by how many members predict each, or the span of their values."""
    if members.ndim == 1:
        spread = {"low": float(members.min()), "high": float(members.max())}
        return {"row": row, "truth": float(truth), "answer": float(ensemble), **spread}
    votes = np.bincount(members.argmax(1), minlength=members.shape[1])
    counts = {str(c): int(votes[c]) for c in np.argsort(-votes, kind="stable") if votes[c]}
    return {"row": row, "truth": int(truth), "answer": int(ensemble.argmax()), "votes": counts}


def _image(x_CHW: NDArray[Any]) -> list[Any]:
    """Grey [H, W] or colour [H, W, 3] from 0 to 255, stretched to its own darkest and brightest."""
    low, high = float(x_CHW.min()), float(x_CHW.max())
    pixels = np.round(255 * (x_CHW - low) / ((high - low) or 1)).astype(int)
    return list((pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).tolist())
