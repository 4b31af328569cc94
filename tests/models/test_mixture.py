"""Supernets: a mixture of weight one is the operation itself, and what a forward keeps is what autograd keeps."""

import pytest
import torch
from torch import nn

from src.models.architectures.cell import OPERATIONS, Cell
from src.models.architectures.supernet import Supernet
from src.models.architectures.table_cell import TableCell
from src.models.architectures.table_supernet import TableSupernet
from src.models.data_spec import DataSpec
from src.models.step_memory import bytes_of_a_row
from src.system.cell_string import NAMES

CHOSEN = dict(
    zip(NAMES, ("nor_conv_3x3", "skip_connect", "none", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3"), strict=True)
)
TABLE = {"width": 8, "cells": 2, "norm": "layer", "dropout": 0.0, "embedding": "none"}


def one_operation(supernet: Supernet | TableSupernet, edges: dict[str, str]) -> None:
    for weights_O, operation in zip(supernet.mixture, edges.values(), strict=True):
        weights_O.copy_(torch.tensor([float(name == operation) for name in supernet.operations]))


def same_weights(supernet: nn.Module, cell: nn.Module, edges: dict[str, str], operations: tuple[str, ...]) -> None:
    """Copy the supernet's weights into the net of one operation an edge."""
    state = supernet.state_dict()
    for name in cell.state_dict():
        _, edge, rest = name.partition(".edges.")
        if edge:
            at, _, below = rest.partition(".")
            place = operations.index(edges[at])
            source = f"{name.partition('.edges.')[0]}.edges.{at}.operations.{place}.{below}"
            if source in state:  # scales and shifts of norms are in the cell alone
                cell.state_dict()[name].copy_(state[source])
        else:
            cell.state_dict()[name].copy_(state[name])


def test_a_mixture_with_all_weight_on_one_operation_is_the_net_of_that_cell() -> None:
    torch.manual_seed(0)
    supernet = Supernet((1, 8, 8), 3, channels=4, cells=2, norm="batch").eval()
    cell = Cell((1, 8, 8), 3, channels=4, cells=2, norm="batch", operations=CHOSEN).eval()
    one_operation(supernet, CHOSEN)
    same_weights(supernet, cell, CHOSEN, OPERATIONS)
    x = torch.randn(5, 1, 8, 8)
    assert torch.allclose(supernet(x), cell(x), atol=1e-6)
    assert not torch.allclose(Supernet((1, 8, 8), 3, channels=4, cells=2, norm="batch").eval()(x), cell(x), atol=1e-2)


def test_a_table_has_its_supernet_too() -> None:
    edges = dict(
        zip(NAMES, ("linear_relu", "skip_connect", "none", "gated_linear", "linear_tanh", "linear_gelu"), strict=True)
    )
    torch.manual_seed(0)
    supernet = TableSupernet(DataSpec((7,), 2), **TABLE).eval()  # type: ignore[arg-type]
    cell = TableCell(DataSpec((7,), 2), operations=edges, **TABLE).eval()  # type: ignore[arg-type]
    one_operation(supernet, edges)
    same_weights(supernet, cell, edges, TableCell.choices)  # type: ignore[arg-type]
    x = torch.randn(5, 7)
    assert torch.allclose(supernet(x), cell(x), atol=1e-6)


def test_an_auxiliary_skip_connection_adds_an_edges_input() -> None:
    supernet = TableSupernet(DataSpec((7,), 2), **TABLE).eval()  # type: ignore[arg-type]
    nothing = dict.fromkeys(NAMES, "none")
    one_operation(supernet, nothing)
    supernet.auxiliary.fill_(0.5)
    skipping = TableSupernet(DataSpec((7,), 2), **TABLE).eval()  # type: ignore[arg-type]
    skipping.load_state_dict(supernet.state_dict())
    skipping.auxiliary.zero_()
    one_operation(skipping, dict.fromkeys(NAMES, "skip_connect"))
    skipping.mixture.mul_(0.5)
    x = torch.randn(5, 7)
    assert torch.equal(supernet(x), skipping(x))


def test_no_norm_of_a_mixed_edge_has_a_scale() -> None:
    supernet = Supernet((1, 8, 8), 3, channels=4, cells=1, norm="batch")
    edges = [p for name, p in supernet.named_parameters() if ".edges." in name]
    assert {p.dim() for p in edges} == {4}


def test_a_supernet_of_images_refuses_a_table() -> None:
    with pytest.raises(ValueError, match=r"model\.name=supernet needs images.* choose model=table_supernet"):
        Supernet((7,), 2, channels=4, cells=1, norm="batch")


def test_a_row_keeps_what_its_layers_need_for_their_way_back() -> None:
    """Of two linear layers with a rectifier: the input, what the rectifier gives (for itself and the second layer)."""
    net = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 3))
    assert bytes_of_a_row(net, (100,)) == 4 * (100 + 50)
