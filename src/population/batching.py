"""The rows that a step takes: batches of an epoch, their growth over a run, and their pieces where memory is short."""

from torch import Tensor

from src.system.trial_config import TrialConfig


def batch_starts(rows: int, batch: int) -> list[int]:
    """Return the first row of each batch; a last batch of a single row is left out, since batch norm needs two."""
    return [start for start in range(0, rows, batch) if rows - start > 1]


def grows(config: TrialConfig) -> bool:
    """Tell whether the batch grows over the run."""
    return config.training.batch_growth.on


def batch_at(config: TrialConfig, epoch: int) -> int:
    """Return the batch size in an epoch, counted from 0: times `batch_growth.factor` at each of its shares of the run.

    Smith et al. 2018: in the place of a rate that falls.
    """
    growth = config.training.batch_growth
    if not growth.on:
        return config.batch_size
    times = sum(epoch >= share * config.epochs for share in growth.at)
    return int(config.batch_size * float(growth.factor) ** times)


def steps_before(config: TrialConfig, rows: int, epoch: int) -> int:
    """Count the steps that a member of `config`, training on so many `rows`, has taken when `epoch` begins."""
    return sum(len(batch_starts(rows, batch_at(config, past))) for past in range(epoch))


def pieces(batch: list[Tensor], config: TrialConfig) -> list[list[Tensor]]:
    """Cut a batch's tensors [K, B, ...] into pieces of equal sizes, but for one row, whose gradients add up to the batch's.

    There are `training.accumulate` of them for `batch_size` rows, fewer of a small last batch: each has two rows at least.
    """
    count, rows = config.training.accumulate, batch[0].shape[1]
    if count == 1:
        return [batch]
    wanted = -(-rows * count // config.batch_size)
    return list(map(list, zip(*(part.tensor_split(min(wanted, rows // 2), 1) for part in batch), strict=True)))
