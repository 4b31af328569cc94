"""Early stopping: the epoch at which a member ends, and the one whose weights it predicts with, from its curves alone."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any


def rule(config: Mapping[str, Any]) -> tuple[int | None, float]:
    """Return the `patience` of a config, in epochs (None: it never stops), and `min_delta`, the least gain that counts."""
    section = config["training"].get("early_stopping") or {}
    return section.get("patience"), section.get("min_delta", 0.0)


def stops(config: Mapping[str, Any]) -> bool:
    """Tell whether a member of this config may stop early, and so predicts with its best epoch's weights."""
    return rule(config)[0] is not None


def without_early_stopping(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a member that trains to its end."""
    section = {**config["training"].get("early_stopping", {}), "patience": None}
    return {**config, "training": {**config["training"], "early_stopping": section}}


def best_epochs(losses: Sequence[float], min_delta: float) -> list[int]:
    """Return after each epoch the best so far, counted from 1: the last whose loss is lower by more than `min_delta`."""
    best, epoch, epochs = inf, 0, []
    for number, loss in enumerate(losses, start=1):
        if loss < best - min_delta or not epoch:
            best, epoch = loss, number
        epochs.append(epoch)
    return epochs


def prediction_epochs(config: Mapping[str, Any], curves: Mapping[str, Sequence[float]]) -> list[int]:
    """Return after each epoch the one whose weights a member predicts with: the best, without early stopping the last."""
    patience, min_delta = rule(config)
    losses = curves.get("val/loss", ())
    return list(range(1, len(losses) + 1)) if patience is None else best_epochs(losses, min_delta)


def stopped(config: Mapping[str, Any], curves: Mapping[str, Sequence[float]]) -> bool:
    """Tell whether the validation loss has had no gain for `patience` epochs."""
    patience, _ = rule(config)
    best = prediction_epochs(config, curves)
    return patience is not None and bool(best) and len(best) - best[-1] >= patience


def earliest(config: Mapping[str, Any], losses: Sequence[float]) -> float:
    """Return the first epoch after which a member with these validation losses may stop, as it does without a gain."""
    patience, min_delta = rule(config)
    return inf if patience is None else (best_epochs(losses, min_delta) or [1])[-1] + patience


def reason(config: Mapping[str, Any], curves: Mapping[str, Sequence[float]]) -> str:
    """Return the sentence that says why a member has stopped; "" where it has not."""
    if not stopped(config, curves):
        return ""
    best = prediction_epochs(config, curves)[-1]
    loss, last = curves["val/loss"][best - 1], len(curves["val/loss"])
    return f"stopped early: the validation loss was lowest after epoch {best} ({loss:.4g}), and no lower until {last}"
