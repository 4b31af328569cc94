"""Models by name: `name: mlp` is the class in `src/models/architectures/mlp.py` whose name is the file's, in any case.

To add one: a file there with an `nn.Module` and a `conf/model/<name>.yaml`. The constructor's arguments are the model's
schema, apart from those in `FROM_DATA`: of these it gets what it accepts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from src.config.components import arguments, component

if TYPE_CHECKING:
    from torch import nn


Meta = Mapping[str, Any]

FROM_DATA: dict[str, Callable[[Meta], Any]] = {
    "input_shape": lambda meta: tuple(meta["input_shape"]),
    "n_outputs": lambda meta: meta["n_classes"] or 1,
    "categories": lambda meta: list(meta["categories"]),
    "bins": lambda meta: list(meta["bins"]),
}


def build(model: Mapping[str, Any], meta: Meta) -> nn.Module:
    """A newly initialised model of the config `{"name": "mlp", **hyperparameters}` for the data that `meta` describes.

    Raises:
        UserError: no such model.
        ValueError: a hyperparameter that does not go with the others or the data, in one sentence that names it.
    """
    cls = component("model", model)
    accepted = inspect.signature(cls).parameters
    known = {key: read(meta) for key, read in FROM_DATA.items() if key in accepted}
    built: nn.Module = cls(**known, **arguments("model", model))
    return built


def n_parameters(model: nn.Module) -> int:
    """Numbers that training may change, and frozen ones: all of the model's parameters, and none of its buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def n_operations(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of one row's way through the model: of all its matrix products and convolutions."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """`torch.utils.flop_counter`'s own mode imports the compiler at its first use, which takes 1.4 s."""

        flops = 0

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if count := flop_registry.get(func._overloadpacket):
                self.flops += count(*args, **(kwargs or {}), out_val=out)
            return out

    training = model.training
    like = next(model.parameters())
    row = torch.zeros(1, *input_shape, dtype=like.dtype, device=like.device)
    counter: Any = Counter
    with counter() as counted, torch.no_grad():
        model.eval()(row)
    model.train(training)
    return int(counted.flops) // 2
