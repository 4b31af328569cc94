"""Bootstrap aggregation (Breiman 1996)."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.ensembles.protocol import Generations, TrainingContext
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.trial_config import TrialConfig


def bagging(
    best: TrialConfig,
    seed: int,
    context: TrainingContext,
    *,
    n: Annotated[int, Field(gt=0, le=10_000)],
    bootstrap: Literal["rows", "weights"],
) -> Generations:
    """Make members that each train on a bootstrap: as many rows as there are, drawn with replacement.

    A member predicts the rows out of its bag, about 37 % of all.

    Args:
        best: the best trial's config.
        seed: of the command; every member's own is derived from it.
        context: the data.
        n: how many members.
        bootstrap: `rows`: a row that is drawn twice occurs twice in an epoch; `weights`: every row occurs once, and its
            loss weighs as often as it was drawn.
    """
    count, members = len(context.rows.x_train), []
    for k in range(n):
        member_seed = derived_seed(seed, "bagging", k)
        rows = np.random.default_rng([member_seed, 6]).integers(count, size=count)
        members.append(bagged(best, member_seed, rows) if bootstrap == "rows" else weighted(best, member_seed, rows))
    trained = yield members
    return [one.with_out_of_fold_predictions(context.rows.x_train) for one in trained]


def bagged(best: TrialConfig, seed: int, rows: NDArray[np.int64]) -> Member:
    """Make the member of config `best` and `seed` that trains on the training rows at `rows` [N], with repetition."""
    return Member(best, seed, rows=rows)


def weighted(best: TrialConfig, seed: int, rows: NDArray[np.int64]) -> Member:
    """Make the member of config `best` and `seed` whose rows weigh as often as they occur in `rows` [N]."""
    return Member(best, seed, weights=np.bincount(rows, minlength=len(rows)).astype(np.float32))
