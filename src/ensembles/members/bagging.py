"""Bootstrap aggregation (Breiman 1996)."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.ensembles.final_member import Config, FinalMember, Generations, TrainingContext
from src.population.member import Member
from src.population.seeds import derived_seed


def bagging(
    best: Config,
    seed: int,
    context: TrainingContext,
    *,
    n: Annotated[int, Field(gt=0)],
    bootstrap: Literal["rows", "weights"],
) -> Generations:
    """`n` members, each of which trains on as many rows as there are, drawn with replacement.

    `rows`: a row that is drawn twice occurs twice in an epoch; `weights`: every row occurs once, and weighs as often as
    it was drawn. A member predicts the rows out of its bag, about 37 % of all.
    """
    count, members, out = len(context.rows.x_train), [], {}
    for k in range(n):
        own = derived_seed(seed, "bagging", k)
        rows = np.random.default_rng([own, 6]).integers(count, size=count)
        out[own] = np.setdiff1d(np.arange(count), rows)
        members.append(bagged(best, own, rows) if bootstrap == "rows" else weighted(best, own, rows))
    trained = yield members
    return [FinalMember(one, held=one.held(out[one.member.seed])) for one in trained]


def bagged(best: Config, seed: int, rows: NDArray[np.int64]) -> Member:
    return Member(best, seed, rows=rows)


def weighted(best: Config, seed: int, rows: NDArray[np.int64]) -> Member:
    return Member(best, seed, weights=np.bincount(rows, minlength=len(rows)).astype(np.float32))
