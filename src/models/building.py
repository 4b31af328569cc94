"""Models by name: `name: mlp` is the class in `src/models/architectures/mlp.py` whose name is the file's, in any case.

To add one: a file there with an `nn.Module` and a `conf/model/<name>.yaml`. The constructor's arguments are the model's
schema, apart from those in `FROM_DATA`: of these it gets what it accepts.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from src.models import architectures
from src.system.errors import UserError

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
    cls = target(model)
    accepted = inspect.signature(cls).parameters
    arguments = {key: read(meta) for key, read in FROM_DATA.items() if key in accepted}
    return cls(**arguments, **{key: value for key, value in model.items() if key not in ("name", "_target_")})


def target(model: Mapping[str, Any]) -> type[nn.Module]:
    """The class that `model.name` (a file of this package) or `model._target_` (`package.module.Class`) means."""
    if "_target_" in model:
        return _imported(model["_target_"])
    names = [module.name for module in pkgutil.iter_modules(architectures.__path__)]
    cls = _class_of(model["name"]) if model["name"] in names else None
    if cls is None:
        known = [name for name in names if _class_of(name)]
        nearest = get_close_matches(str(model["name"]), known, n=1, cutoff=0.0)[0]
        raise UserError(f"model.name={model['name']} does not exist: the nearest is {nearest} (of {', '.join(known)}).")
    return cls


def n_operations(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of one row's way through the model: of all its matrix products and convolutions."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """`torch.utils.flop_counter`'s own imports the compiler, which takes a second."""

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


def _class_of(name: str) -> type[nn.Module] | None:
    module: Any = importlib.import_module(f"{architectures.__name__}.{name}")
    wanted = name.replace("_", "")
    return next(
        (value for key, value in vars(module).items() if key.lower() == wanted and isinstance(value, type)), None
    )


def _imported(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    try:
        cls: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"model._target_={path} cannot be imported: {error}.") from error
    if not isinstance(cls, type):
        raise UserError(f"model._target_={path} is not a class: it must name one, as package.module.Class.")
    return cls
