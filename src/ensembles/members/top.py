"""The nets of the sweep's best trials, which need no training."""

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from src.engine.cross_validation import trial_folds
from src.ensembles.final_member import FinalMember
from src.ensembles.protocol import TrainingContext
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.system.arrays import read_npz
from src.system.errors import UserError
from src.system.read_back import intact, read_json
from src.system.tensors import read_weights
from src.system.trial_config import TrialConfig

AGAIN = "run python -m src.sweep again"


def top(best: TrialConfig, seed: int, context: TrainingContext, *, n: Annotated[int, Field(gt=0)]) -> list[FinalMember]:
    """Take the nets of the best complete trials; under cross-validation a trial has one for each fold.

    Args:
        best: the best trial's config; each member has that of its own trial.
        seed: of the command.
        context: the data and the folder of the sweep.
        n: how many trials.

    Raises:
        UserError: the sweep has fewer complete trials, or a file of it is missing.
    """
    if not (context.sweep / "ranking.json").exists():
        raise UserError(f"members: {context.sweep / 'ranking.json'} is missing; run python -m src.sweep again")
    trials = read_json(context.sweep / "ranking.json", AGAIN, list)[:n]
    if len(trials) < n:
        raise UserError(f"members.n: {n} is more than the {len(trials)} complete trials of {context.sweep}; take fewer")
    with intact(context.sweep / "ranking.json", AGAIN):
        return [_member(trial, file, seed, context) for trial in trials for file in trial["weights"]]


def _member(trial: dict[str, Any], file: str, seed: int, context: TrainingContext) -> FinalMember:
    """The net in the file named `file` of a `trial`; of several folds it predicts the validation rows anew."""
    path = context.sweep / "weights" / file
    if not path.exists():
        raise UserError(f"members: {path} is missing; run python -m src.sweep again")
    weights = read_weights(path, AGAIN)
    predictions = read_npz(context.sweep / "predictions.npz", str(trial["number"]), AGAIN)
    checkpoint = Checkpoint(trial["epochs"], weights, {}, {}, torch.from_numpy(predictions))
    member = Member(TrialConfig.from_json(trial["config"]), seed, rows=_rows(context, trial["weights"], file))
    net = FinalMember.trained(f"top-{path.stem}", member, checkpoint, context.rows)
    if len(trial["weights"]) > 1:
        checkpoint.predictions = torch.from_numpy(net.predict(context.rows.x_val))
    return net


def _rows(context: TrainingContext, files: list[str], file: str) -> NDArray[np.int64] | None:
    """Find the training rows of the net in `file`, one of a trial's `files`: one a fold; None of a single one: all."""
    if len(files) == 1:
        return None
    meta = context.rows.meta
    y_N = context.rows.y_train[: meta.n_train].cpu().numpy()
    return trial_folds(y_N, len(files), meta)[files.index(file)].rows
