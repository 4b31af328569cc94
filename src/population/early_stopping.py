"""Early stopping: the epoch at which a member ends, and the one whose weights it predicts with, from its curves alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from src.system.trial_config import TrialConfig


def stops(config: TrialConfig) -> bool:
    """Tell whether a member of this config may stop early, and so predicts with its best epoch's weights."""
    return config.training.early_stopping.patience is not None


def without_early_stopping(config: TrialConfig) -> TrialConfig:
    """Return the config of a member that trains to its end."""
    never = replace(config.training.early_stopping, patience=None)
    return replace(config, training=replace(config.training, early_stopping=never))


def best_epochs(losses: Sequence[float], min_delta: float) -> list[int]:
    """Return after each epoch the best so far, counted from 1: the last whose loss is lower by more than `min_delta`."""
    best, epoch, epochs = inf, 0, []
    for number, loss in enumerate(losses, start=1):
        if loss < best - min_delta or not epoch:
            best, epoch = loss, number
        epochs.append(epoch)
    return epochs


def prediction_epochs(config: TrialConfig, curves: Mapping[str, Sequence[float]]) -> list[int]:
    """Return after each epoch the one whose weights a member predicts with: the best, without early stopping the last."""
    rule, losses = config.training.early_stopping, curves.get("val/loss", ())
    return list(range(1, len(losses) + 1)) if rule.patience is None else best_epochs(losses, rule.min_delta)


def stopped(config: TrialConfig, curves: Mapping[str, Sequence[float]]) -> bool:
    """Tell whether the validation loss has had no gain for `patience` epochs."""
    patience = config.training.early_stopping.patience
    best = prediction_epochs(config, curves)
    return patience is not None and bool(best) and len(best) - best[-1] >= patience


def earliest(config: TrialConfig, losses: Sequence[float]) -> float:
    """Return the first epoch after which a member with these validation losses may stop, as it does without a gain."""
    rule = config.training.early_stopping
    return inf if rule.patience is None else (best_epochs(losses, rule.min_delta) or [1])[-1] + rule.patience


def reason(config: TrialConfig, curves: Mapping[str, Sequence[float]]) -> str:
    """Return the sentence that says why a member has stopped; "" where it has not."""
    if not stopped(config, curves):
        return ""
    best = prediction_epochs(config, curves)[-1]
    loss, last = curves["val/loss"][best - 1], len(curves["val/loss"])
    return f"stopped early: the validation loss was lowest after epoch {best} ({loss:.4g}), and no lower until {last}"
