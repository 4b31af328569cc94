"""Batches come in their order, whatever is read ahead, and an error in what is read is not lost."""

import pytest
import torch

from src.population.reading_ahead import AHEAD, reading_ahead


@pytest.mark.parametrize("count", [0, 1, AHEAD, 3 * AHEAD + 1])
def test_each_batch_comes_once_and_in_its_order(count: int) -> None:
    batches = list(torch.randint(10, (count, 2, 4)))
    assert [batch.data_ptr() for batch in reading_ahead(batches, torch.zeros(10, 3))] == [b.data_ptr() for b in batches]


def test_a_place_that_is_none_is_an_error() -> None:
    with pytest.raises(IndexError):
        list(reading_ahead([torch.tensor([[11]])], torch.zeros(10, 3)))
