"""The rows that a step takes: batches of an epoch, their growth over a run, and their pieces where memory is short."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def batch_starts(rows: int, batch: int) -> list[int]:
    """Return the first row of each batch; a last batch of a single row is left out, since batch norm needs two."""
    return [start for start in range(0, rows, batch) if rows - start > 1]


def grows(config: Mapping[str, Any]) -> bool:
    """Tell whether the batch grows over the run."""
    return bool(config["training"].get("batch_growth", {}).get("factor", 1.0) != 1.0)


def batch_at(config: Mapping[str, Any], epoch: int) -> int:
    """Return the batch size in an epoch, counted from 0: times `batch_growth.factor` at each of its shares of the run.

    Smith et al. 2018: in the place of a rate that falls.
    """
    if not grows(config):
        return int(config["batch_size"])
    times = sum(epoch >= share * config["epochs"] for share in config["training"]["batch_growth"]["at"])
    factor = float(config["training"]["batch_growth"]["factor"])
    return int(config["batch_size"] * factor**times)


def steps_before(config: Mapping[str, Any], rows: int, epoch: int) -> int:
    """Count the steps that a member of `config`, training on so many `rows`, has taken when `epoch` begins."""
    return sum(len(batch_starts(rows, batch_at(config, past))) for past in range(epoch))


def pieces(batch: list[Tensor], config: Mapping[str, Any]) -> list[list[Tensor]]:
    """Cut a batch's tensors [K, B, ...] into pieces of equal sizes, but for one row, whose gradients add up to the batch's.

    There are `training.accumulate` of them for `batch_size` rows, fewer of a small last batch: each has two rows at least.
    """
    count, rows = config["training"].get("accumulate", 1), batch[0].shape[1]
    if count == 1:
        return [batch]
    wanted = -(-rows * count // config["batch_size"])
    return list(map(list, zip(*(part.tensor_split(min(wanted, rows // 2), 1) for part in batch), strict=True)))
