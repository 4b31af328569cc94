"""The best trials of the sweep, which are there already."""

import json
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file

from src.ensembles.final_member import Config, FinalMember, Trained, TrainingContext
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.system.errors import UserError


def top(best: Config, seed: int, context: TrainingContext, *, n: Annotated[int, Field(gt=0)]) -> list[FinalMember]:
    """The nets of the `n` best complete trials: under cross-validation each trial has one a fold."""
    if not (context.sweep / "ranking.json").exists():
        raise UserError(f"members: {context.sweep / 'ranking.json'} is missing; run python -m src.sweep again")
    trials = json.loads((context.sweep / "ranking.json").read_text())[:n]
    if len(trials) < n:
        raise UserError(f"members.n: {n} is more than the {len(trials)} complete trials of {context.sweep}; take fewer")
    items = []
    with np.load(context.sweep / "predictions.npz") as predictions:
        for trial in trials:
            for file in trial["weights"]:
                path = context.sweep / "weights" / file
                if not path.exists():
                    raise UserError(f"members: {path} is missing; run python -m src.sweep again")
                whole = torch.from_numpy(predictions[str(trial["number"])])
                state = Checkpoint(trial["epochs"], load_file(path), {}, {}, whole)
                one = Trained(f"top-{path.stem}", Member(trial["config"], seed), state, context.rows)
                if len(trial["weights"]) > 1:  # the sweep kept the mean of them
                    state.predictions = torch.from_numpy(one.predict(context.rows.x_val))
                items.append(FinalMember(one))
    return items
