"""Architecture parameters of supernets: their gradients, bits that company does not change, guards, the cell at the end."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from src.bilevel.architecture import derived_cell
from src.bilevel.architecture_population import ArchitecturePopulation
from src.bilevel.estimators.direct import direct
from src.bilevel.estimators.one_step import one_step
from src.bilevel.problem import Problem
from src.bilevel.requirements import refuse_impossible
from src.engine.fusing import population_of
from src.engine.memory import memory
from src.engine.model_size import refuse_untrainable
from src.engine.task import WorkerSetup
from src.models.building import build
from src.models.step_memory import bytes_of_a_row
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.rows import Rows
from src.system.cell_string import NAMES
from src.system.errors import UserError
from tests.support.metas import data_meta
from tests.support.training import assert_same, config, images, table

SUPERNET = {"name": "supernet", "channels": 2, "cells": 1, "norm": "batch"}
TABLE = {"name": "table_supernet", "width": 8, "cells": 1, "norm": "layer", "dropout": 0.1, "embedding": "none"}
TEN = data_meta(1, 8, 8, class_names=[*"0123456789"])
OPERATIONS = ("none", "skip_connect", "strong", "weak")


def darts(**changes: Any) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "derived": {"supernet": "cell"},
        "supernets": 1,
        "order": "first",
        "interval": 2,
        "rate": 0.05,
    }
    return keys | {"warmup": 0.0, "beta_decay": 0.0, "auxiliary_skip": False, "most_skips": 2} | changes


def member(seed: int, model: dict[str, Any] = TABLE, **changes: Any) -> Member:
    lr = 0.001 * (1 + seed % 3)
    return Member(config(model, lr=lr, epochs=4, training={"darts": darts(**changes)}), seed)


def population(
    members: Sequence[Member], data: Rows, states: Sequence[Checkpoint | None] | None = None, fused: bool = False
) -> ArchitecturePopulation:
    made = population_of(members, data, WorkerSetup(Path(), "cpu"), states, fused)
    assert isinstance(made, ArchitecturePopulation)
    return made


def trained(
    members: Sequence[Member],
    data: Rows,
    epochs: int,
    states: Sequence[Checkpoint | None] | None = None,
    fused: bool = False,
) -> list[Checkpoint]:
    group = population(members, data, states, fused)
    for _ in range(epochs):
        group.epoch()
    return [group.save(k) for k in range(len(members))]


def few_images() -> Rows:
    return images(96, 20)


@pytest.mark.parametrize(
    ("model", "data", "fused", "order"),
    [(TABLE, table, True, "first"), (TABLE, table, True, "second"), (SUPERNET, few_images, False, "second")],
)
def test_the_bits_of_a_supernet_are_the_same_alone_and_in_company(
    model: dict[str, Any], data: Callable[[], Rows], fused: bool, order: str
) -> None:
    guards = {"beta_decay": 5.0, "auxiliary_skip": True, "interval": 3}
    members = [member(seed, model, order=order, **guards, rate=0.02 * (1 + seed)) for seed in range(2)]
    together = trained(members, data(), 2, fused=fused)
    for one, state in zip(members, together, strict=True):
        assert_same(trained([one], data(), 2)[0], state)
    mixtures = [state.weights["mixture"] for state in together]
    assert not torch.equal(mixtures[0], mixtures[1])


def test_a_supernet_goes_on_from_its_file_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    one = member(3, SUPERNET, beta_decay=5.0, auxiliary_skip=True, warmup=0.3)
    (whole,) = trained([one], few_images(), 4)
    (half,) = trained([one], few_images(), 2)
    half.save(tmp_path / "half")
    assert_same(trained([one], few_images(), 2, [Checkpoint.load(tmp_path / "half")])[0], whole)


@pytest.mark.parametrize("order", ["first", "second"])
def test_an_outer_step_follows_the_gradient_by_finite_differences(order: str) -> None:
    """Of the outer loss at the weights (first order), or after one step on the training loss (second)."""
    group = population([member(1, {**TABLE, "dropout": 0.0}, order=order)], table())
    seen: list[tuple[Problem, Tensor, Tensor]] = []
    estimate = group.estimate

    def look(problem: Problem, p_KP: Tensor, numbers_KV: Tensor) -> Tensor:
        seen.append((problem, p_KP.clone(), numbers_KV.clone()))
        return estimate(problem, p_KP, numbers_KV)

    group.estimate = look
    group.epoch()
    problem, p_KP, numbers_KV = seen[-1]
    problem = replace(problem, rate_K1=torch.tensor([[0.1]]))

    def judged(numbers_KV: Tensor) -> float:
        weights_KP = p_KP.clone().requires_grad_()
        if order == "second":
            (slope_KP,) = torch.autograd.grad(problem.train[-1](weights_KP, numbers_KV).sum(), weights_KP)
            weights_KP = p_KP - 0.1 * slope_KP
        return problem.outer(weights_KP.detach(), numbers_KV).double().sum().item()

    gradient_KV = (direct if order == "first" else _look_ahead)(problem, p_KP, numbers_KV)
    length = gradient_KV.norm().item()
    step = gradient_KV / length * 0.05
    difference = (judged(numbers_KV + step) - judged(numbers_KV - step)) / 0.1
    along = (direct(problem, p_KP, numbers_KV) * gradient_KV).sum().item() / length
    assert length == pytest.approx(difference, rel=0.05)
    assert (along == pytest.approx(difference, rel=0.05)) == (order == "first"), "the way through the weights counts"


def _look_ahead(problem: Problem, p_KP: Tensor, numbers_KV: Tensor) -> Tensor:
    return one_step(problem, p_KP, numbers_KV, look_ahead=True)


def test_weights_train_alone_while_a_supernet_warms_up() -> None:
    group = population([member(0, warmup=0.5), member(0)], table())
    group.epoch()
    mixture_KEO = group.stack.fixed["mixture"]
    assert torch.equal(mixture_KEO[0], torch.full_like(mixture_KEO[0], 1 / 6))
    assert not torch.equal(mixture_KEO[1], mixture_KEO[0])
    for _ in range(2):
        group.epoch()
    assert not torch.equal(mixture_KEO[0], torch.full_like(mixture_KEO[0], 1 / 6))


def test_the_decay_makes_mixtures_more_even() -> None:
    """Ye et al. 2022: a penalty of log Σ exp shrinks what is large, so operations stay closer to each other."""
    free, decayed = trained([member(0), member(0, beta_decay=100.0)], table(), 4)
    spread = [state.weights["mixture"].std(1).mean().item() for state in (free, decayed)]
    assert spread[1] < 0.7 * spread[0]


def test_the_auxiliary_skip_connection_falls_to_nothing() -> None:
    group = population([member(0, auxiliary_skip=True), member(1)], table())
    weights = []
    for _ in range(4):
        group.epoch()
        weights.append(group.stack.fixed["auxiliary"].tolist())
    assert [round(first, 5) for first, _ in weights] == [1.0, 0.66667, 0.33333, 0.0]
    assert {second for _, second in weights} == {0.0}


# --- the cell at the end ---------------------------------------------------------------------------------------------


def curves(*epochs: dict[str, dict[str, float]]) -> dict[str, list[float]]:
    """Weights of the mixture after each epoch; an edge that is not named weighs all alike."""
    return {
        f"outer/architecture/{edge}/{name}": [epoch.get(edge, {}).get(name, 0.25) for epoch in epochs]
        for edge in NAMES
        for name in OPERATIONS
    }


def edges(operation: str, count: int = len(NAMES), weight: float = 0.6) -> dict[str, dict[str, float]]:
    return {edge: {operation: weight} for edge in NAMES[:count]} | {edge: {"strong": 0.6} for edge in NAMES[count:]}


def test_the_heaviest_operation_that_carries_something_is_derived() -> None:
    end = edges("weak", 3) | {NAMES[0]: {"none": 0.9, "strong": 0.3}}
    expected = dict(zip(NAMES, ("strong", "weak", "weak", "strong", "strong", "strong"), strict=True))
    assert derived_cell(curves(edges("strong"), end), None) == expected


def test_epochs_in_which_skip_connections_have_taken_over_are_not_looked_at() -> None:
    history = curves(edges("weak"), edges("skip_connect", 2), edges("skip_connect", 3), edges("skip_connect"))
    assert list(derived_cell(history, 2).values()) == ["skip_connect"] * 2 + ["strong"] * 4
    assert set(derived_cell(history, None).values()) == {"skip_connect"}


def test_where_they_had_taken_over_from_the_first_the_heaviest_stay() -> None:
    end = {edge: {"skip_connect": 0.5 + k / 100, "weak": 0.3} for k, edge in enumerate(NAMES)}
    assert list(derived_cell(curves(end, end), 2).values()) == ["weak"] * 4 + ["skip_connect"] * 2
    assert set(derived_cell(curves(end, end), 0).values()) == {"weak"}


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_model_without_architecture_parameters_is_refused() -> None:
    with pytest.raises(UserError, match="training=darts: model=mlp has no architecture parameters"):
        population_of(
            [Member(config(training={"darts": darts()}), 0)], table(), WorkerSetup(Path(), "cpu"), None, fused=False
        )


def test_a_supernet_without_a_derived_net_is_refused() -> None:
    with pytest.raises(UserError, match=r"training: model=supernet is all of its nets at once, .* training=darts"):
        refuse_untrainable(SUPERNET, config(SUPERNET), TEN)


def test_fewer_outer_rows_than_classes_are_refused() -> None:
    trial = replace(member(0, SUPERNET).config, batch_size=4)
    refuse_impossible(trial, TEN, 30)
    with pytest.raises(
        UserError, match=r"training\.darts: a third of the 29 .* 9 outer rows, fewer than the 10 classes"
    ):
        refuse_impossible(trial, TEN, 29)


def test_a_supernet_that_no_memory_holds_is_refused_with_the_cells_that_would_fit() -> None:
    meta = data_meta(1, 28, 28)
    one, two = (bytes_of_a_row(build({**SUPERNET, "cells": cells}, meta), meta.input_shape) for cells in (1, 2))
    rows = int(memory() / (one + 2.5 * (two - one)))  # of which three cells would fit

    def refused(cells: int, batch_size: int) -> str:
        model = {**SUPERNET, "cells": cells}
        try:
            refuse_untrainable(model, config(model, batch_size=batch_size, training={"darts": darts()}), meta)
        except ValueError as refusal:
            return str(refusal)
        return ""

    assert not refused(3, rows)
    assert "model.cells: a step of the supernet takes" in refused(4, rows)
    assert "GB: model.cells=3 would fit, or take a smaller batch_size" in refused(9, rows)
    assert "GB: not even one cell would fit" in refused(1, 4 * rows)


def test_outer_rows_are_of_the_training_rows_and_none_of_them_trains() -> None:
    group = population([member(0), member(1)], table())
    outer = [m.outer_rows for m in group.members]  # type: ignore[attr-defined]
    assert not np.array_equal(outer[0], outer[1])
    for row, m in zip(outer, group.members, strict=True):
        assert m.rows is not None
        assert not set(row) & set(m.rows)
