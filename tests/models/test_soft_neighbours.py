"""The mean of neighbours and its gradients are those of distances, softmax and product, however the rows are cut."""

import pytest
import torch

from src.models import soft_neighbours
from src.models.soft_neighbours import mean_at_once, mean_of_neighbours


def by_definition(
    query: torch.Tensor, key: torch.Tensor, y: torch.Tensor, log_weight: torch.Tensor | None, own: torch.Tensor | None
) -> torch.Tensor:
    logits = -torch.cdist(query, key)
    if log_weight is not None:
        logits = logits + log_weight
    if own is not None:
        logits = logits.masked_fill(own[:, None] == torch.arange(len(key)), -torch.inf)
    return logits.softmax(1) @ y


@pytest.mark.parametrize("pairs", [1, 300, 2**20])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_softmax_of_distances(monkeypatch: pytest.MonkeyPatch, pairs: int, weighted: bool, masked: bool) -> None:
    monkeypatch.setattr(soft_neighbours, "PAIRS", pairs)
    monkeypatch.setattr(soft_neighbours, "FEWEST_ROWS", 2)
    torch.manual_seed(0)
    query, key = (torch.randn(n, 5, dtype=torch.float64).requires_grad_() for n in (23, 40))
    y = torch.randn(40, 3, dtype=torch.float64)
    log_weight = torch.rand(40, dtype=torch.float64).log() if weighted else None
    own = torch.randint(-1, 40, (23,)) if masked else None
    slope = torch.randn(23, 3, dtype=torch.float64)
    expected = by_definition(query, key, y, log_weight, own)
    gradients = torch.autograd.grad(expected, [query, key], slope)
    computed = mean_of_neighbours(query, key, y, log_weight, own)
    torch.testing.assert_close(computed, expected)
    for one, other in zip(torch.autograd.grad(computed, [query, key], slope), gradients, strict=True):
        torch.testing.assert_close(one, other)
    if not masked:
        torch.testing.assert_close(mean_at_once(query, key, y, log_weight), expected)


def test_float32_is_close_where_rows_are_far_from_zero_and_equal_to_neighbours() -> None:
    torch.manual_seed(0)
    key = torch.randn(200, 16) * 3 + 5
    query = torch.cat([key[:50], torch.randn(50, 16) * 3 + 5]).requires_grad_()
    y = torch.randn(200, 1)
    computed = mean_of_neighbours(query, key, y)
    expected = by_definition(query.double(), key.double(), y.double(), None, None)
    torch.testing.assert_close(computed.double(), expected, rtol=0.05, atol=0.02)
    (gradient,) = torch.autograd.grad(computed.sum(), query)
    assert torch.isfinite(gradient).all()


def test_memory_does_not_grow_with_the_rows() -> None:
    assert soft_neighbours.tile_rows(10**6) == soft_neighbours.FEWEST_ROWS
    assert soft_neighbours.tile_rows(8192) * 8192 == soft_neighbours.PAIRS
