"""The rows by which outer variables are learnt: a third of a member's training rows, on which its weights do not train."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from src.population.member import Member
from src.population.seeds import derived_seed

SHARE = 3  # one row in so many


@dataclass(frozen=True)
class OuterMember(Member):
    """A member whose training rows have been cut in two."""

    outer_rows: NDArray[np.int64] | None = None


def with_outer_rows(member: Member, count: int) -> OuterMember:
    """Cut a member's training rows, by its own seed, into those that train and those of the outer loss.

    Args:
        member: with all its training rows. A row that stands there several times is in one part alone.
        count: how many training rows the data have.
    """
    rows = np.arange(count) if member.rows is None else member.rows
    draw = np.random.default_rng(derived_seed(member.seed, "outer rows"))
    outer = np.sort(draw.permutation(np.unique(rows))[: outer_count(len(np.unique(rows)))])
    return replace(OuterMember(**vars(member)), rows=rows[~np.isin(rows, outer)], outer_rows=outer)


def outer_count(rows: int) -> int:
    """Return how many of so many training rows are outer rows."""
    return rows // SHARE


def outer_batches(members: Sequence[Member], epochs: Sequence[int], count: int, size: int) -> NDArray[np.int64]:
    """Draw batches of outer rows for `count` outer steps of the members' next epochs [count, K, B].

    Args:
        members: K members with outer rows.
        epochs: how many each has done.
        count: how many batches.
        size: rows of a batch; all outer rows where there are fewer.
    """
    batches = []
    for member, epoch in zip(members, epochs, strict=True):
        assert isinstance(member, OuterMember)
        assert member.outer_rows is not None
        draw = np.random.default_rng([derived_seed(member.seed, "outer batches"), epoch])
        size = min(size, len(member.outer_rows))
        passes = -(-count * size // len(member.outer_rows))
        order = np.concatenate([draw.permutation(member.outer_rows) for _ in range(passes)])
        batches.append(order[: count * size].reshape(count, size))
    return np.stack(batches, 1)
