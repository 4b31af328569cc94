"""The best config again, from fresh seeds."""

from typing import Annotated

from pydantic import Field

from src.ensembles.final_member import Config, TrainingContext
from src.population.member import Member
from src.population.seeds import derived_seed


def seeds(best: Config, seed: int, context: TrainingContext, *, n: Annotated[int, Field(gt=0)]) -> list[Member]:
    """`n` members that differ in their initial weights, data order and dropout masks."""
    return [Member(best, derived_seed(seed, "seeds", k)) for k in range(n)]
