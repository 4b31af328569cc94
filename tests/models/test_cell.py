"""The cell's graph, its string form, and what its config may say."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.models.architectures.cell import OPERATIONS, Cell
from src.models.building import n_parameters
from src.models.cell import Cell as Graph
from src.population.member import Member
from src.system.cell_string import NAMES, cell_string, operations_of
from tests.support.training import assert_same, config, images, trained

SMALL = {"channels": 4, "cells": 1, "norm": "group"}
TEXT = "|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_a_node_is_the_sum_of_its_edges() -> None:
    factors = dict(zip(NAMES, "235789", strict=True))
    cell = Graph(factors, lambda factor: Times(float(factor)))
    one = 2.0
    two = 3.0 + 5.0 * one
    assert cell(torch.ones(1)).item() == 7.0 + 8.0 * one + 9.0 * two


def test_every_cell_is_its_string_and_back() -> None:
    assert cell_string(operations_of(TEXT, OPERATIONS)) == TEXT
    rng = np.random.default_rng(0)
    for _ in range(50):
        operations = dict(zip(NAMES, rng.choice(OPERATIONS, len(NAMES)).tolist(), strict=True))
        assert operations_of(cell_string(operations), OPERATIONS) == operations


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        (TEXT.replace("none~1", "non~1"), "model.operations.from_1_to_3 is non: it must be one of none, skip_connect"),
        (TEXT.replace("|none~1", ""), "model.operations must name an operation for each of from_0_to_1"),
        ("", "model.operations must name an operation for each"),
        (dict.fromkeys(NAMES[1:], "none"), "model.operations must name an operation for each"),
    ],
)
def test_what_is_no_cell_is_refused(edges: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        operations_of(edges, OPERATIONS)  # type: ignore[arg-type]


def test_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.name=cell needs images"):
        Cell((7,), 2, channels=4, cells=1, norm="batch", operations=TEXT)


def test_the_parameters_of_nas_bench_201_are_those_of_its_paper() -> None:
    """The largest cell of CIFAR-10's table, six 3×3 convolutions, 16 channels and 5 cells a stage: 1.532 MB of them."""
    net = Cell((3, 32, 32), 10, channels=16, cells=5, norm="batch", operations=dict.fromkeys(NAMES, "nor_conv_3x3"))
    assert n_parameters(net) == pytest.approx(1.532e6, rel=0.01)


def test_a_cell_trains_to_the_same_bits_in_company() -> None:
    model = {"name": "cell", **SMALL, "operations": TEXT}
    members = [Member(config(model, optimizer="sgd", lr=lr), seed) for seed, lr in enumerate((0.01, 0.1))]
    together = trained(members, images(), 2, fused=False)
    for one, state in zip(members, together, strict=True):
        assert_same(trained([one], images(), 2)[0], state)
