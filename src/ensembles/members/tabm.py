"""Ensembles in one model: k perceptrons that share most of their weights."""

from typing import Annotated

from pydantic import Field

from src.ensembles.final_member import Config, TrainingContext
from src.models.architectures.tabm import Kind
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.errors import UserError


def tabm(
    best: Config,
    seed: int,
    context: TrainingContext,
    *,
    n: Annotated[int, Field(gt=0)],
    k: Annotated[int, Field(gt=1)],
    kind: Kind,
) -> list[Member]:
    """`n` models of `k` nets each, with the width, the depth and all else of the best mlp but its normalisation."""
    model = best["model"]
    if model["name"] != "mlp" or not isinstance(model["width"], int):
        raise UserError(
            "members: tabm and batch_ensemble share the layers of model=mlp, and of one model.width; take seeds"
        )
    own = {name: value for name, value in model.items() if name not in ("name", "norm")}
    config = {**best, "model": {"name": "tabm", "kind": kind, "k": k, **own}}
    return [Member(config, derived_seed(seed, "tabm", place)) for place in range(n)]
