"""A cross-validation committee (Krogh & Vedelsby 1995)."""

from typing import Annotated

import numpy as np
from pydantic import Field

from src.engine.cross_validation import folds as cut
from src.ensembles.final_member import Config, FinalMember, Generations, TrainingContext
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.errors import UserError


def folds(best: Config, seed: int, context: TrainingContext, *, n: Annotated[int, Field(ge=2)]) -> Generations:
    """`n` members, each of which trains on all training rows but a fold, and predicts this one."""
    try:
        parts = cut(context.y_train, n, seed, context.rows.meta["class_names"])
    except UserError as error:
        raise UserError(str(error).replace("objective.folds", "members.n", 1)) from error
    held = {derived_seed(seed, "folds", k): part for k, part in enumerate(parts)}
    trained = yield [Member(best, own, rows=part.rows) for own, part in held.items()]
    return [FinalMember(one, held=one.held(np.asarray(held[one.member.seed].holdout_rows))) for one in trained]
