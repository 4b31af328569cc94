"""Zero-cost proxies on the prepared data, answered apart: no model's code runs in the process of a sweep."""

import math
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.data.dataset import load
from src.engine.inspection import INSPECTOR, NoAnswerError
from src.models.proxy import proxy_score, require_proxy
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.trial_config import TrialConfig

ROWS = 64  # of the training rows


class Proxy:
    """The score of a trial's config by a proxy; a model that cannot be scored is the last.

    Attributes:
        seconds: spent on scores so far.
    """

    def __init__(self, name: str, folder: Path, meta: DataMeta) -> None:
        """Choose a proxy.

        Args:
            name: of a file in `src/models/proxies`.
            folder: of the prepared data.
            meta: describes them.

        Raises:
            UserError: there is no such proxy.
        """
        require_proxy(name)
        self.name, self.folder, self.meta = name, folder, meta
        self.seconds = 0.0
        self._scores: dict[str, float] = {}

    def __call__(self, config: TrialConfig) -> float:
        """Score a trial's config; higher promises more."""
        model = config.model
        if (key := repr(model)) not in self._scores:
            began = time.perf_counter()
            try:
                score = INSPECTOR.ask(score_of, model, self.meta, self.name, self.folder)
            except (NoAnswerError, UserError):
                score = -math.inf
            self._scores[key] = score if math.isfinite(score) else -math.inf
            self.seconds += time.perf_counter() - began
        return self._scores[key]


def score_of(model: Mapping[str, Any], meta: DataMeta, name: str, folder: Path) -> float:
    """Score a `model` for the data that `meta` describes and `folder` holds, by the proxy `name`."""
    return proxy_score(name, model, meta, *_batch(folder))


@lru_cache(maxsize=1)
def _batch(folder: Path) -> tuple[Tensor, Tensor]:
    data = load(folder)
    places = np.sort(np.random.default_rng(0).permutation(len(data.x_train))[:ROWS])
    return torch.from_numpy(data.x_train[places]), torch.from_numpy(data.y_train[places])
