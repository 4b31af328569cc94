"""Factors of a member's rate, by the kind of parameter: `optimizer.rate_factors`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from src.models.layers import Parametric, Scale
from src.population.member import Member
from src.population.parameter_layout import Layout

KINDS = ("bias", "scale", "activation", "embedding")


def rate_factors(members: Sequence[Member], module: nn.Module, layout: Layout, like_KP: Tensor) -> Tensor | None:
    """Return the factor of each parameter's step [K, P]; None where all are 1.

    A step with its factor is the same as with a rate that is multiplied by it, whatever the optimizer; its weight decay too.

    Args:
        members: K members with a config each.
        module: one of their models, which are alike.
        layout: where its parameters stand in a row.
        like_KP: the parameters, for their device.
    """
    asked = [member.config.optimizer.get("rate_factors") or {} for member in members]
    if not any(factors.get("by_fan_in") or any(factors.get(kind, 1.0) != 1.0 for kind in KINDS) for factors in asked):
        return None
    shares, kinds = fan_in_shares(module), kinds_of_parameters(module)
    factors_KP = torch.ones_like(like_KP)
    for factors, row_P in zip(asked, factors_KP, strict=True):
        for name, view in layout.unflatten(row_P).items():
            view.fill_(_factor(factors, kinds[name]) * (shares[name] if factors.get("by_fan_in") else 1.0))
    return factors_KP


def _factor(factors: Mapping[str, Any], kind: str | None) -> float:
    return float(factors.get(kind, 1.0)) if kind else 1.0


def kinds_of_parameters(module: nn.Module) -> dict[str, str | None]:
    """Return the kind of each parameter by name: embedding of numbers, factor of a feature, activation, bias, or None."""
    kinds: dict[str, str | None] = {}
    for place, layer in module.named_modules():
        for key, _ in layer.named_parameters(prefix=place, recurse=False):
            if "features.numbers." in key:
                kinds[key] = "embedding"
            elif isinstance(layer, Scale):
                kinds[key] = "scale"
            elif isinstance(layer, Parametric):
                kinds[key] = "activation"
            else:
                kinds[key] = "bias" if key.rpartition(".")[2] == "bias" else None
    return kinds


def fan_in_shares(module: nn.Module) -> dict[str, float]:
    """Return 1 / √(fan in) for the weights of each linear layer, 1 for all others, by name.

    Adam's steps with such rates are those of the neural tangent parametrisation (Jacot et al. 2018), W x / √(fan in).
    """
    shares = dict.fromkeys(dict(module.named_parameters()), 1.0)
    for place, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            shares[f"{place}.weight" if place else "weight"] = layer.in_features**-0.5
    return shares
