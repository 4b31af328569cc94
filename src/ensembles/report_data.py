"""All that the report shows of an ensemble, from what its members predicted: `judged.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles import evaluation as evaluation
from src.ensembles import forward_selection as forward
from src.ensembles.metrics import reliability
from src.ensembles.pool import Trained, says
from src.ensembles.selection import Joined

DISPUTED = 12  # rows shown
LONGEST = 30  # members of the path of the best few


def on_validation(
    task: str,
    by: str,
    pool: Sequence[Trained],
    compared: Mapping[str, Joined],
    winner: str,
    y_val: NDArray[Any],
    sizes: Sequence[int],
) -> dict[str, Any]:
    """How members differ, what n of them are worth, what an ensemble costs: all of the validation rows.

    `sizes`: the parameters of each member of `pool`.
    """
    chosen = compared[winner]
    val_MNC = np.stack([member.val for member in pool])
    pairs = evaluation.diversity(val_MNC, y_val)
    points, axes = evaluation.embedding(np.concatenate([val_MNC, chosen.val[None]]))
    share = dict(zip(chosen.places, chosen.shares.tolist(), strict=True))
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
        "ensembles": {name: _ensemble(pool, each, pairs, sizes, y_val) for name, each in compared.items()},
        "growth": evaluation.growth(task, val_MNC[chosen.places], y_val, by),
        "frontier": _frontier(task, by, pool, compared, sizes, y_val),
    }


def _ensemble(
    pool: Sequence[Trained], each: Joined, pairs: Mapping[str, Any], sizes: Sequence[int], y_val: NDArray[Any]
) -> dict[str, Any]:
    """Its cost, the mean over its pairs of members, and what it gains from their differing."""
    own = np.ix_(each.used, each.used)
    members = np.stack([pool[k].val for k in each.places])
    return {
        "members": len(each.used),
        "parameters": sum(sizes[k] for k in each.used),
        **{name: evaluation.mean_pair(pair[own]) for name, pair in pairs.items()},
        **{f"squared_{name}": value for name, value in evaluation.ambiguity(members, y_val, each.shares).items()},
    }


def _frontier(
    task: str, by: str, pool: Sequence[Trained], compared: Mapping[str, Joined], sizes: Sequence[int], y: NDArray[Any]
) -> dict[str, Any]:
    """Single members, what was compared, and the best few together, by cost and value on the validation rows."""
    val_MNC = np.stack([member.val for member in pool])
    order = forward.order(val_MNC, y, LONGEST)
    path = forward.judged(val_MNC, y, LONGEST)
    names = [m.title for m in pool] + list(compared) + [f"the best {n} together" for n in range(2, len(path) + 1)]
    costs = [*sizes, *(sum(sizes[k] for k in each.used) for each in compared.values())]
    costs += [sum(sizes[k] for k in order[:n]) for n in range(2, len(path) + 1)]
    single = [evaluation.rows(task, member.val, y)[by] for member in pool]
    losses = np.stack([*single, *(evaluation.rows(task, each.val, y)[by] for each in compared.values()), *path[1:]])
    place, limit = evaluation.smallest(costs, losses)
    root = np.sqrt if by == "rmse" else np.asarray
    values = root(losses.mean(1)).tolist()
    kinds = ["member"] * len(pool) + ["ensemble"] * len(compared) + ["best few"] * (len(path) - 1)
    front = evaluation.frontier(costs, values)
    return {
        "limit": float(root(limit)),
        "smallest": names[place],
        "points": [
            {"name": name, "kind": kind, "parameters": cost, "value": value, "on_front": k in front}
            for k, (name, kind, cost, value) in enumerate(zip(names, kinds, costs, values, strict=True))
        ],
    }


def on_test(
    task: str,
    pool: Sequence[Trained],
    chosen: Joined,
    test_MNC: NDArray[Any],
    joined: NDArray[Any],
    single: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
) -> dict[str, Any]:
    """Calibration, and the rows on which the members of the chosen ensemble differ most."""
    members = test_MNC[chosen.places]
    rows = evaluation.disputed(members, says([pool[k] for k in chosen.places]), DISPUTED)
    pictures = x.ndim == 4 and x.shape[1] in (1, 3)
    found: dict[str, Any] = {"disputed": [_row(int(r), members[:, r], joined[r], y[r]) for r in rows]}
    if pictures:
        for line, r in zip(found["disputed"], rows, strict=True):
            line["image"] = _image(x[r])
    if task == "classification":
        found["reliability"] = {"chosen": reliability(joined, y), "single": reliability(single, y)}
    return found


def _row(place: int, members: NDArray[Any], joined: NDArray[Any], truth: Any) -> dict[str, Any]:
    """What each member says of a row: classes by how many say so, or the span of the values."""
    if members.ndim == 1:
        spread = {"low": float(members.min()), "high": float(members.max())}
        return {"row": place, "truth": float(truth), "answer": float(joined), **spread}
    votes = np.bincount(members.argmax(1), minlength=members.shape[1])
    said = {str(c): int(votes[c]) for c in np.argsort(-votes, kind="stable") if votes[c]}
    return {"row": place, "truth": int(truth), "answer": int(joined.argmax()), "votes": said}


def _image(x_CHW: NDArray[Any]) -> list[Any]:
    """Grey [H, W] or colour [H, W, 3] from 0 to 255, stretched to its own darkest and brightest."""
    low, high = float(x_CHW.min()), float(x_CHW.max())
    pixels = np.round(255 * (x_CHW - low) / ((high - low) or 1)).astype(int)
    return list((pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).tolist())
