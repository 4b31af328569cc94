"""The best trials of the sweep, which are there already."""

import json
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file

from src.ensembles.final_member import Config, Given, Item, Trained
from src.population.checkpoint import State
from src.population.member import Member
from src.system.errors import UserError


def top(best: Config, seed: int, given: Given, *, n: Annotated[int, Field(gt=0)]) -> list[Item]:
    """The nets of the `n` best complete trials: under cross-validation each trial has one a fold."""
    if not (given.sweep / "ranking.json").exists():
        raise UserError(f"members: {given.sweep / 'ranking.json'} is missing; run python -m src.sweep again")
    trials = json.loads((given.sweep / "ranking.json").read_text())[:n]
    if len(trials) < n:
        raise UserError(f"members.n: {n} is more than the {len(trials)} complete trials of {given.sweep}; take fewer")
    items = []
    with np.load(given.sweep / "predictions.npz") as predictions:
        for trial in trials:
            for file in trial["weights"]:
                path = given.sweep / "weights" / file
                if not path.exists():
                    raise UserError(f"members: {path} is missing; run python -m src.sweep again")
                whole = torch.from_numpy(predictions[str(trial["number"])])
                state = State(trial["epochs"], load_file(path), {}, {}, whole)
                one = Trained(f"top-{path.stem}", Member(trial["config"], seed), state, given.rows)
                if len(trial["weights"]) > 1:  # the sweep kept the mean of them
                    state.predictions = torch.from_numpy(one.predict(given.rows.x_val))
                items.append(Item(one))
    return items
