"""Models by name: `name: mlp` is the class in `src/models/architectures/mlp.py` whose name is the file's, in any case.

To add one: a file there with an `nn.Module` and a `conf/model/<name>.yaml`. The constructor's arguments are the model's
schema, apart from those that the data answer: `data_spec`, or single fields of `DataSpec`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from src.config.components import arguments, component
from src.models.data_spec import DataSpec
from src.system.data_meta import DataMeta

if TYPE_CHECKING:
    from torch import nn


RANDOM = ("uniform_", "normal_", "trunc_normal_", "bernoulli_", "random_", "exponential_")
TOO_LARGE = ("Storage size calculation overflowed", "DefaultCPUAllocator", "Overflow")  # what torch says then
VALUES = (
    "dropout",
    "residual_dropout",
    "frequency_scale",
)  # on which no tensor's shape depends, nor the computation's form
TRAINING_BYTES = 16  # of a parameter: its weight, gradient and two moments


def build(model: Mapping[str, Any], meta: DataMeta) -> nn.Module:
    """Build a newly initialised model of a config `{"name": "mlp", **hyperparameters}` for data that `meta` describes.

    Raises:
        UserError: no such model.
        ValueError: a hyperparameter that does not go with the others or the data, in one sentence that names it.
    """
    return construct(model, DataSpec.of(meta))


def construct(model: Mapping[str, Any], data_spec: DataSpec) -> nn.Module:
    """Build a model as `build` does, from what a model may know of the data."""
    model = _of_today(model)
    cls = component("model", model)
    from_data = data_spec.arguments(inspect.signature(cls).parameters)
    built: nn.Module = cls(**from_data, **arguments("model", model))
    return built


def _of_today(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Translate a config that an earlier version wrote: TabM's `variant` was `kind`, in the words of its package."""
    if model.get("name") != "tabm" or "kind" not in model:
        return model
    return {"variant": model["kind"].removeprefix("tabm-"), **{k: v for k, v in model.items() if k != "kind"}}


def n_parameters(model: nn.Module) -> int:
    """Count the numbers that training may change, and frozen ones: all of the model's parameters, none of its buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def outline(model: Mapping[str, Any], meta: DataMeta) -> nn.Module:
    """Build a model of this config for the data that `meta` describes, without its numbers where it can be had so.

    Raises:
        UserError: there is no such model.
        ValueError: a hyperparameter does not go with the others or the data, or the weights need more memory than there is.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class WithoutRandomNumbers(TorchFunctionMode):
        """Leaves out what would fill weights with random numbers: without weights that imports the compiler, a second."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") in RANDOM:
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    try:
        with torch.device("meta"), WithoutRandomNumbers():
            built = build(model, meta)
    except NotImplementedError:  # a model of a person's own that looks at the numbers
        built = build(model, meta)
    except (RuntimeError, TypeError) as error:
        if not any(word in str(error) for word in TOO_LARGE):
            raise
        raise ValueError(
            "model: its weights are more than any memory can hold: make it narrower or less deep."
        ) from error
    count, there = n_parameters(built), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if count * TRAINING_BYTES > there:
        needs = f"{count:,} parameters take {count * TRAINING_BYTES / 1e9:,.0f} GB to train"
        raise ValueError(f"model: {needs}, this machine has {there / 1e9:,.0f} GB: make it narrower or less deep.")
    return built


def n_operations(model: nn.Module, input_shape: tuple[int, ...], training: bool = False) -> int:
    """Count the multiply-adds of one row's way through the model: of all its matrix products and convolutions.

    Args:
        model: the net, whose mode is as before then.
        input_shape: of a row.
        training: in training mode, in which a net may do less, and changes its running statistics; else in evaluation.
    """
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

    before, count = model.training, 2 if training else 1  # batch norm trains on two rows at least
    like = next(model.parameters())
    rows = torch.zeros(count, *input_shape, dtype=like.dtype, device=like.device)
    counter: Any = Counter
    with counter() as counted, torch.no_grad():
        model.train(training)(rows)
    model.train(before)
    return int(counted.flops) // (2 * count)
