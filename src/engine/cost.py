"""The cost of an epoch by estimate, the unit of virtual time, and the measures of a model that follow from its config."""

import json
from functools import lru_cache

from src.engine.inspection import INSPECTOR
from src.engine.model_size import Size, size
from src.population.batching import batch_starts
from src.system.data_meta import DataMeta
from src.system.trial_config import TrialConfig

STEP_SECONDS = 3e-4  # what a step takes however small the net
OPERATIONS_PER_SECOND = 2e10  # of one thread, in multiply-adds
PASSES = 3  # forward, and the two products of backward


def seconds_per_epoch(config: TrialConfig, meta: DataMeta) -> float:
    """Estimate the seconds that a member of this config takes for an epoch: rows × operations, and an overhead a step.

    A constant of the config, not a measurement: the same on every machine.
    """
    steps = len(batch_starts(meta.n_train, config.batch_size))
    operations = _size_of(config, meta).training_operations
    return float(steps * STEP_SECONDS + meta.n_train * operations * PASSES / OPERATIONS_PER_SECOND)


def measures(config: TrialConfig, meta: DataMeta) -> dict[str, float]:
    """Count a config's `operations` (multiply-adds of one row's forward pass) and `parameters`, known before it trains."""
    counted = _size_of(config, meta)
    return {"operations": counted.operations, "parameters": counted.parameters}


def _size_of(config: TrialConfig, meta: DataMeta) -> Size:
    texts = (json.dumps(part, sort_keys=True) for part in (config.model, meta.to_json()))
    return _size(*texts, config.batch_size)


@lru_cache(maxsize=1024)
def _size(model: str, meta: str, batch: int) -> Size:
    return INSPECTOR.ask(size, json.loads(model), DataMeta.from_json(json.loads(meta)), batch)
