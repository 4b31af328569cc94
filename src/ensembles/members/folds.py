"""A cross-validation committee (Krogh & Vedelsby 1995)."""

from typing import Annotated

from pydantic import Field

from src.engine.cross_validation import folds as cut
from src.ensembles.protocol import Generations, TrainingContext
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.errors import UserError
from src.system.trial_config import TrialConfig


def folds(best: TrialConfig, seed: int, context: TrainingContext, *, n: Annotated[int, Field(ge=2)]) -> Generations:
    """Make members that each train on all training rows but those of one fold, and predict these.

    Args:
        best: the best trial's config.
        seed: of the command: it cuts the folds, and every member's own is derived from it.
        context: the data.
        n: how many folds and members.

    Raises:
        UserError: there are fewer rows, or rows of a class, than folds.
    """
    try:
        parts = cut(context.y_train, n, seed, context.rows.meta.class_names)
    except UserError as error:
        raise UserError(str(error).replace("objective.folds", "members.n", 1)) from error
    trained = yield [Member(best, derived_seed(seed, "folds", k), rows=part.rows) for k, part in enumerate(parts)]
    return [one.with_out_of_fold_predictions(context.rows.x_train) for one in trained]
