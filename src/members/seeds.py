"""The best config again, from fresh seeds."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from src.population.member import Member, derived_seed


def seeds(best: Mapping[str, Any], seed: int, *, n: Annotated[int, Field(gt=0)]) -> list[Member]:
    """`n` members that differ in their initial weights, data order and dropout masks."""
    return [Member(best, derived_seed(seed, 3, k)) for k in range(n)]
