"""Ensembles in one model: k perceptrons that share most of their weights."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from src.ensembles.protocol import TrainingContext
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.errors import UserError
from src.system.trial_config import TrialConfig

Kind = Literal["tabm", "tabm-mini", "tabm-packed", "batch_ensemble"]  # in the words of the package
OF_AN_MLP = ("name", "norm", "front_scale", "parametric_activation")  # keys that its k nets have not


def tabm(
    best: TrialConfig,
    seed: int,
    context: TrainingContext,
    *,
    n: Annotated[int, Field(gt=0, le=10_000)],
    k: Annotated[int, Field(gt=1)],
    kind: Kind,
) -> list[Member]:
    """Make models that each hold several nets, with the width, depth and all else of the best mlp but its normalisation.

    Args:
        best: the best trial's config.
        seed: of the command; every member's own is derived from it.
        context: the data.
        n: how many models.
        k: nets in each.
        kind: which weights the nets share: `batch_ensemble` as Wen, Tran & Ba 2020, the others as Gorishniy et al. 2024.

    Raises:
        UserError: the best model is no mlp of one width.
    """
    model = best.model
    if model["name"] != "mlp" or not isinstance(model["width"], int):
        raise UserError("members: tabm shares the layers of model=mlp, and of one model.width; take seeds")
    shared = {name: value for name, value in model.items() if name not in OF_AN_MLP}
    config = replace(best, model={"name": "tabm", "variant": kind.removeprefix("tabm-"), "k": k, **shared})
    return [Member(config, derived_seed(seed, "tabm", number)) for number in range(n)]
