"""Constants in the place of outer variables: what a trial found, for the training of final members."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from src.system.trial_config import TrialConfig

CURVES = "outer/"  # begins the names of the curves of outer variables


def with_constants(config: TrialConfig, curves: Mapping[str, Sequence[float]]) -> TrialConfig:
    """Return the config with the last values of a trial's outer variables as constants; others stay as they are.

    Args:
        config: by which the trial was trained.
        curves: of the trial.
    """
    section = config.training.hypergradient
    if not section or section["values"]:
        return config
    values = {name.removeprefix(CURVES): curve[-1] for name, curve in curves.items() if name.startswith(CURVES)}
    return replace(config, training=replace(config.training, hypergradient={**section, "values": values}))
