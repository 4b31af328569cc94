"""Factors of the rate by the kind of parameter are parameter groups of PyTorch's optimizer."""

import pytest
import torch

from src.models.building import build
from src.population.member import Member
from src.population.rate_factors import kinds_of_parameters
from tests.support.training import assert_same, config, population, table, trained

FACTORS = {"by_fan_in": True, "bias": 0.1, "scale": 6.0, "activation": 0.5, "embedding": 0.2}
MODEL = {"embedding": "periodic", "parametric_activation": True, "front_scale": True, "activation": "selu"}


def member(seed: int, **factors: float) -> Member:
    made = config(batch_size=420, weight_decay=0.0, lr=1e-3)
    asked = {"rate_factors": FACTORS | factors} if factors is not None else {}
    return Member(made.with_model(**MODEL).with_optimizer(**asked), seed)


def test_every_parameter_has_its_kind() -> None:
    kinds = kinds_of_parameters(build(member(0).config.model, table().meta))
    assert {name.partition(".")[2] for name, kind in kinds.items() if kind == "scale"} == {"factor"}
    assert [name for name, kind in kinds.items() if kind == "activation"] == [
        "hidden.0.activation.degree",
        "hidden.1.activation.degree",
    ]
    assert all(("numbers" in name) == (kind == "embedding") for name, kind in kinds.items())
    assert [kinds[name] for name in ("output.bias", "output.weight")] == ["bias", None]


def test_a_first_step_of_adam_is_the_rate_times_the_factor() -> None:
    """Adam's first step has the length of the rate for every parameter that has a gradient."""
    group = population([member(3)], table())
    before = group.stack.layout.unflatten(group.stack.p_KP[0].clone())
    group.epoch()
    after = group.stack.layout.unflatten(group.stack.p_KP[0])
    fan_in = dict(group.stack.modules[0].named_modules())["hidden.1.linear"].in_features
    expected = {
        "output.bias": 0.1,
        "scale.factor": 6.0,
        "hidden.0.activation.degree": 0.5,
        "features.numbers.linear.bias": 0.2,
        "hidden.1.linear.weight": fan_in**-0.5,
    }
    for name, factor in expected.items():
        step = (after[name] - before[name]).abs().max().item()
        assert step == pytest.approx(1e-3 * factor, rel=1e-2), name


def test_members_with_other_factors_or_none_do_not_show() -> None:
    plain = Member(member(1).config.with_optimizer(rate_factors={}), 1)
    members = [member(0), plain, member(2, bias=3.0), member(3, by_fan_in=False)]
    group = population(members, table())
    for _ in range(3):
        group.epoch()
    assert group.stack.fused
    for k, each in enumerate(members):
        assert_same(trained([each], table(), 3)[0], group.save(k))
    assert len(torch.unique(group.stack.p_KP, dim=0)) == 4
