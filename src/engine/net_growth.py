"""Function-preserving growth: a wider or deeper net that computes what the smaller one did.

New units have fresh weights, and those that read them weights of zero, so that they change nothing at first. (Net2Net, Chen
et al. 2016, copies units instead; copies that began alike stayed nearly alike in our measurements, and were worth less.) New
layers pass on what they get, as Net2Net's do, which is exact where the activation leaves its own output as it is.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from src.models.building import VALUES
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.stack import build_model
from src.system.data_meta import DataMeta

Model = Mapping[str, Any]
SIZES = {"mlp": {"width", "depth"}, "cnn": {"channels", "depth"}}


def inherited(state: Checkpoint, parent: Member, child: Member, meta: DataMeta) -> Checkpoint | None:
    """Return the checkpoint that `child` begins with: its parent's, or if the model has grown, one of the larger net.

    None where the larger net would compute something else than the parent's: then the child begins with new weights.

    Args:
        state: the parent's checkpoint.
        parent: the member that left it.
        child: the member that goes on; if its model has grown, from epoch 0 with a new optimizer.
        meta: describes the data.
    """
    before, after = parent.config.model, child.config.model
    if sizes(before) == sizes(after):
        return state
    if growth_obstacle(before, after):
        return None
    fresh = build_model(child, meta, None).state_dict()
    old = dict(state.model_weights)
    for k in range(before["depth"], after["depth"]):
        width = _widths(before)[-1]
        old |= {f"hidden.{k}.linear.weight": torch.eye(width), f"hidden.{k}.linear.bias": torch.zeros(width)}
    return Checkpoint(0, {name: _embedded(old[name], tensor) for name, tensor in fresh.items()}, {}, {}, torch.empty(0))


def sizes(model: Model) -> dict[str, Any]:
    """Return the hyperparameters of a net that may grow; of a user's own model there are none."""
    return {key: model[key] for key in SIZES.get(model.get("name", ""), ()) if key in model}


def growth_obstacle(before: Model, after: Model) -> str:
    """Return the reason why the net after would compute something else than the one before; "" where it would not."""
    name = before.get("name", "")
    free = {*VALUES} | SIZES.get(name, set())
    if name not in SIZES or {**before, **dict.fromkeys(free)} != {**after, **dict.fromkeys(free)}:
        return "it is another kind of net"
    if after["depth"] != before["depth"] and (
        name != "mlp" or (before["activation"], before["norm"]) != ("relu", "none")
    ):
        return "only an mlp's rectifiers without a norm pass on what they get"
    pairs = list(zip(_widths(before), _widths(after), strict=False))
    if after["depth"] < before["depth"] or any(n > m for n, m in pairs):
        return "it is smaller"
    if before["norm"] in ("layer", "group") and any(n != m for n, m in pairs):
        return f"new units change what a {before['norm']} norm does to the others"
    return ""


def _widths(model: Model) -> list[int]:
    width = model.get("width", model.get("channels"))
    return list(width) if isinstance(width, list) else [width] * model["depth"]


def _embedded(old: Tensor, fresh: Tensor) -> Tensor:
    """Put `old` in the place of the first units of `fresh`, which read nothing of the units behind them."""
    if not old.dim():
        return old
    grown = fresh.clone()
    if old.dim() > 1:
        grown[: old.shape[0]] = 0
        grown[: old.shape[0], : old.shape[1]] = old  # a flattened image has one channel's pixels after the other's
    else:
        grown[: len(old)] = old
    return grown
