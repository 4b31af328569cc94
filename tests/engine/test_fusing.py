"""Rows that are mapped from files train the same bits as rows in memory, and stay where they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from src.data import joined_rows
from src.engine.fusing import population_of, rows
from src.engine.task import WorkerSetup
from src.population.member import Member
from src.population.rows import Rows
from tests.support.training import MLP, config, setup, table

NET = {**MLP, "embedding": "piecewise_linear", "norm": "batch", "dropout": 0.2}


def is_mapped(tensor: torch.Tensor, file: str) -> bool:
    """Whether the memory of a tensor is a mapping of a file with this name."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, name = line.partition(" ")
        low, high = (int(end, 16) for end in span.split("-"))
        if low <= tensor.data_ptr() < high:
            return file in name
    return False


def trained(data: Rows, where: WorkerSetup) -> tuple[torch.Tensor, torch.Tensor, list[dict[str, list[float]]]]:
    members = [Member(config(NET, batch_size=64, lr=rate), seed) for seed, rate in enumerate((1e-3, 1e-2))]
    made = population_of(members, data, where, None, fused=True)
    for _ in range(2):
        made.epoch()
    return made.stack.p_KP, made.save(0).predictions, made.curves


def in_memory(data: Rows) -> Rows:
    copies = {part: getattr(data, part).clone() for part in ("x_train", "y_train", "x_val", "y_val")}
    return replace(data, **copies)


@pytest.mark.parametrize("with_validation", [False, True])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_mapped_rows_train_the_bits_of_rows_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, with_validation: bool
) -> None:
    monkeypatch.setattr(joined_rows, "MOST_BYTES", 0)
    where = replace(setup(table(task), tmp_path), with_validation=with_validation)
    mapped = rows(where)
    assert is_mapped(mapped.x_train, "(deleted)" if with_validation else "x_train.npy")
    assert is_mapped(mapped.x_val, "x_val.npy")
    assert len(mapped.x_train) == table(task).meta.n_train + with_validation * table(task).meta.n_val
    one, other = trained(mapped, where), trained(in_memory(mapped), where)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert one[2] == other[2]
    assert is_mapped(rows(where).x_train, "(deleted)" if with_validation else "x_train.npy")
