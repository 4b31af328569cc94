"""Constants in the place of outer variables: what a trial found, for the training of final members."""

from collections.abc import Mapping, Sequence
from typing import Any

CURVES = "outer/"  # begins the names of the curves of outer variables


def with_constants(config: Mapping[str, Any], curves: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the config with the last values of a trial's outer variables as constants; others stay as they are.

    Args:
        config: by which the trial was trained.
        curves: of the trial.
    """
    section = config["training"].get("hypergradient")
    if not section or section["values"]:
        return dict(config)
    values = {name.removeprefix(CURVES): curve[-1] for name, curve in curves.items() if name.startswith(CURVES)}
    training = {**config["training"], "hypergradient": {**section, "values": values}}
    return {**config, "training": training}
