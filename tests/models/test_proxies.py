"""The contract of every zero-cost proxy, and what is known of some."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from src.models.proxies.grad_norm import grad_norm
from src.models.proxies.jacob_cov import jacob_cov
from src.models.proxies.naswot import naswot
from src.models.proxies.synflow import synflow
from src.models.proxy import mse, proxy_score, require_proxy
from src.system.cell_string import NAMES
from src.system.errors import UserError
from tests.support.training import CNN, MLP, images, table

PROXIES = sorted(path.stem for path in (Path(__file__).parents[2] / "src/models/proxies").glob("[!_]*.py"))
CELL = {"name": "cell", "channels": 4, "cells": 1, "norm": "batch"}


def edges(operation: str) -> dict[str, Any]:
    return {**CELL, "operations": dict.fromkeys(NAMES, operation)}


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("model", [MLP, CNN, edges("nor_conv_3x3")], ids=lambda model: model["name"])
def test_a_score_is_finite_and_the_same_at_every_call(name: str, model: dict[str, Any]) -> None:
    data = images()
    state = torch.random.get_rng_state()
    scores = [proxy_score(name, model, data.meta, data.x_train[:16], data.y_train[:16]) for _ in range(2)]
    assert np.isfinite(scores[0])
    assert scores[0] == scores[1]
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", PROXIES)
def test_a_table_with_values_has_scores(name: str) -> None:
    data = table("regression")
    assert np.isfinite(proxy_score(name, MLP, data.meta, data.x_train[:16], data.y_train[:16]))


@pytest.mark.parametrize("name", ["naswot", "synflow"])
def test_a_cell_of_convolutions_promises_more_than_one_of_nothing(name: str) -> None:
    data = images()
    scores = [
        proxy_score(name, edges(operation), data.meta, data.x_train[:16], data.y_train[:16])
        for operation in ("none", "skip_connect", "nor_conv_3x3")
    ]
    assert scores[0] <= scores[1] < scores[2]


class Line(nn.Module):
    """One weight and its rectifier: all of it is known by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[-2.0, 3.0]]))
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(x @ self.weight.T)


def test_the_scores_of_a_line_are_those_by_hand() -> None:
    x, y = torch.tensor([[1.0, 1.0], [0.0, -1.0], [2.0, 2.0]]), torch.tensor([0.0, 0.0, 0.0])
    # outputs 1, 0, 2; the mean of squares has the gradient 2/3 · Σ output · x = 2/3 · (1 + 4, 1 + 4)
    assert grad_norm(Line(), x, y, mse) == pytest.approx(2 / 3 * np.hypot(5, 5))
    # |weight| of ones: 2 + 3; weight · gradient sums to the same
    assert synflow(Line(), x, y, mse) == pytest.approx(np.log1p(5.0))
    # rows 0 and 2 are active, row 1 is not: the agreements are singular
    assert naswot(Line(), x, y, mse) == -np.inf
    assert naswot(Line(), x[:2], y[:2], mse) == pytest.approx(0.0)
    # Jacobians −2, 3 of both rows: wholly correlated, eigenvalues 2 and 0
    expected = -(np.log(2 + 1e-5) + 1 / (2 + 1e-5) + np.log(1e-5) + 1e5)
    assert jacob_cov(Line(), x[[0, 2]], y[:2], mse) == pytest.approx(expected, rel=1e-6)


def test_an_unknown_proxy_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"search\.proxy.*naswat.*naswot"):
        require_proxy("naswat")
