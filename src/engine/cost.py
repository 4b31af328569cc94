"""The cost of an epoch by estimate, the unit of virtual time, and the measures of a model that follow from its config."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from src.engine.inspection import INSPECTOR
from src.engine.model_size import operations_and_parameters
from src.population.batching import batch_starts

STEP_SECONDS = 3e-4  # what a step takes however small the net
OPERATIONS_PER_SECOND = 2e10  # of one thread, in multiply-adds
PASSES = 3  # forward, and the two products of backward


def seconds_per_epoch(config: Mapping[str, Any], meta: Mapping[str, Any]) -> float:
    """Estimate the seconds that a member of this config takes for an epoch: rows × operations, and an overhead a step.

    A constant of the config, not a measurement: the same on every machine.
    """
    steps = len(batch_starts(meta["n_train"], config["batch_size"]))
    operations, _ = _size(json.dumps(config["model"], sort_keys=True), json.dumps(dict(meta), sort_keys=True))
    return float(steps * STEP_SECONDS + meta["n_train"] * operations * PASSES / OPERATIONS_PER_SECOND)


def measures(config: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, float]:
    """Count a config's `operations` (multiply-adds of one row's forward pass) and `parameters`, known before it trains."""
    operations, parameters = _size(json.dumps(config["model"], sort_keys=True), json.dumps(dict(meta), sort_keys=True))
    return {"operations": operations, "parameters": parameters}


@lru_cache(maxsize=1024)
def _size(model: str, meta: str) -> tuple[int, int]:
    return INSPECTOR.ask(operations_and_parameters, json.loads(model), json.loads(meta))
