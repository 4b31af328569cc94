"""BatchEnsemble (Wen, Tran, Ba 2020): one matrix a layer for all k nets, and of each its own signs of inputs and outputs."""

from typing import Annotated

from pydantic import Field

from src.ensembles.final_member import Config, TrainingContext
from src.ensembles.members.tabm import tabm
from src.population.member import Member


def batch_ensemble(
    best: Config, seed: int, context: TrainingContext, *, n: Annotated[int, Field(gt=0)], k: Annotated[int, Field(gt=1)]
) -> list[Member]:
    """`n` models of `k` nets each: see `tabm`."""
    return tabm(best, seed, context, n=n, k=k, kind="batch_ensemble")
