"""Early stopping: when a member ends, and of which of its epochs the weights are kept. Plain functions of its curves."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any


def rule(config: Mapping[str, Any]) -> tuple[int | None, float]:
    """The `patience` of a config, in epochs (None: it never stops), and `min_delta`, the least gain that counts."""
    section = config.get("early_stopping") or {}
    return section.get("patience"), section.get("min_delta", 0.0)


def stops(config: Mapping[str, Any]) -> bool:
    """Whether a member of this config may stop early, and keeps its best epoch's weights."""
    return rule(config)[0] is not None


def best_epochs(losses: Sequence[float], min_delta: float) -> list[int]:
    """After each epoch the one, counted from 1, whose weights are kept: of the last loss lower than all before by more
    than `min_delta`.
    """
    best, epoch, kept = inf, 0, []
    for number, loss in enumerate(losses, start=1):
        if loss < best - min_delta or not epoch:
            best, epoch = loss, number
        kept.append(epoch)
    return kept


def kept_epochs(config: Mapping[str, Any], curves: Mapping[str, Sequence[float]]) -> list[int]:
    """The same for a member's curves; without early stopping each epoch itself."""
    patience, min_delta = rule(config)
    losses = curves.get("val/loss", ())
    return list(range(1, len(losses) + 1)) if patience is None else best_epochs(losses, min_delta)


def stopped(config: Mapping[str, Any], curves: Mapping[str, Sequence[float]]) -> bool:
    """Whether the validation loss has had no gain for `patience` epochs."""
    patience, _ = rule(config)
    kept = kept_epochs(config, curves)
    return patience is not None and bool(kept) and len(kept) - kept[-1] >= patience


def earliest(config: Mapping[str, Any], losses: Sequence[float]) -> float:
    """The first epoch after which a member with these validation losses may stop: it does if none to come is a gain."""
    patience, min_delta = rule(config)
    return inf if patience is None else (best_epochs(losses, min_delta) or [1])[-1] + patience


def reason(config: Mapping[str, Any], curves: Mapping[str, Sequence[float]]) -> str:
    """Why a member has stopped, or ""."""
    if not stopped(config, curves):
        return ""
    best = kept_epochs(config, curves)[-1]
    loss, last = curves["val/loss"][best - 1], len(curves["val/loss"])
    return f"stopped early: the validation loss was lowest after epoch {best} ({loss:.4g}), and no lower until {last}"
