"""Members of the best config that differ in their seed."""

from typing import Annotated

from pydantic import Field

from src.ensembles.protocol import TrainingContext
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.trial_config import TrialConfig


def seeds(
    best: TrialConfig, seed: int, context: TrainingContext, *, n: Annotated[int, Field(gt=0, le=10_000)]
) -> list[Member]:
    """Make `n` members of the config `best` that differ in initial weights, data order and dropout masks.

    Their seeds are derived from `seed`; `context`, the data, has no part in it.
    """
    return [Member(best, derived_seed(seed, "seeds", k)) for k in range(n)]
