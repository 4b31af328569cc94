"""Scores of untrained models by a zero-cost proxy, to rank points before any is trained."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from src.models import proxies
from src.models.building import build
from src.system.data_meta import DataMeta
from src.system.errors import require_one_of

Loss = Callable[[Tensor, Tensor], Tensor]


def proxy_score(name: str, model: Mapping[str, Any], meta: DataMeta, x: Tensor, y: Tensor) -> float:
    """Score a model of a config by the proxy `name`, with initial weights that are the same at every call.

    Args:
        name: of a file in `src/models/proxies`.
        model: its config.
        meta: describes the data.
        x: a batch of training rows [B, *input_shape].
        y: classes, or standardised targets [B].

    Raises:
        UserError: there is no such model.
        ValueError: a hyperparameter does not go with the others or the data.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(model, meta)
        loss: Loss = mse if y.is_floating_point() else cross_entropy
        proxy = getattr(importlib.import_module(f"{proxies.__name__}.{name}"), name)
        return float(proxy(net, x, y, loss))


def require_proxy(name: str) -> None:
    """Refuse the name of a proxy that is not there.

    Raises:
        UserError: it names the nearest.
    """
    require_one_of("search.proxy", name, [module.name for module in pkgutil.iter_modules(proxies.__path__)])


def mse(output_B1: Tensor, y_B: Tensor) -> Tensor:
    """Compute the mean of the squared errors, from outputs with one column."""
    return mse_loss(output_B1.squeeze(1), y_B)
