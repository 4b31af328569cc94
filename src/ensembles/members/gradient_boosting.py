"""Gradient boosting with small nets."""

from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field

from src.ensembles.final_member import FinalMember
from src.ensembles.protocol import Generations, Segment, TrainingContext
from src.ensembles.weak_learner import weak
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.seeds import derived_seed
from src.population.stack import build_model
from src.system.trial_config import TrialConfig


def gradient_boosting(
    best: TrialConfig,
    seed: int,
    context: TrainingContext,
    *,
    n: Annotated[int, Field(gt=0, le=10_000)],
    shrinkage: Annotated[float, Field(gt=0, le=1)],
    corrective_epochs: Annotated[int, Field(ge=0)],
    corrective_rate: Annotated[float, Field(gt=0)],
    epochs: Annotated[int, Field(gt=0)] | None,
    model: dict[str, Any],
) -> Generations:
    """Make one member: the sum of weak nets, each fitted to what the sum before it leaves, and added shrunk (Friedman 2001).

    A net descends the gradient of the loss at the sum of those before it, which stand still, and itself. Of the squared
    error that is a fit to the negative gradient, the residual; of the cross-entropy it needs no expansion to the second
    order, as trees do. After each net a corrective step (GrowNet, Badirli et al. 2020) trains all nets of the sum
    together, at `corrective_rate` times the rate. A net that fails ends it; a corrective step that does is left out.

    Args:
        best: the best trial's config.
        seed: of the command; that of every step is derived from it.
        context: the data.
        n: how many nets.
        shrinkage: the coefficient of each net in the sum.
        corrective_epochs: of all nets together after each net; 0: none.
        corrective_rate: times the learning rate in these epochs.
        epochs: of each net; None: those of `best`.
        model: keys of the model that make it smaller than that of `best`.

    Raises:
        UserError: the model has no such key.
    """
    small, one = weak(best, model, epochs), None
    for k in range(n):
        fitted = _sum(small, [shrinkage] * k + [1.0], "last")
        member = Member(fitted, derived_seed(seed, "gradient_boosting", k))
        trained = yield [Segment(member, small.epochs, _start(member, context, one) if one else None)]
        if not trained:
            break
        (one,) = trained
        settled = _sum(small, [shrinkage] * (k + 1), "all")
        if corrective_epochs:
            slower = replace(settled, epochs=corrective_epochs).with_optimizer(lr=small.lr * corrective_rate)
            together = Member(slower, derived_seed(seed, "gradient_boosting correction", k))
            if trained := (yield [Segment(together, corrective_epochs, _start(together, context, one))]):
                (one,) = trained
    return [_settled(replace(one, member=replace(one.member, config=settled)), context)] if one else []


def _sum(config: TrialConfig, coefficients: list[float], trains: str) -> TrialConfig:
    """The config of the sum of so many nets."""
    model = {"name": "additive", "of": config.model, "coefficients": coefficients, "trains": trains}
    return replace(config, model=model)


def _start(member: Member, context: TrainingContext, before: FinalMember) -> Checkpoint:
    """The checkpoint that a sum begins from: the weights of the sum `before`, and of a new net from the member's seed.

    With the predictions of the sum before, by which the new one is judged.
    """
    fresh = build_model(member, context.rows.meta, None).state_dict()
    weights = {**fresh, **before.checkpoint.model_weights}
    return Checkpoint(0, weights, {}, {}, before.checkpoint.predictions)


def _settled(one: FinalMember, context: TrainingContext) -> FinalMember:
    """The member with the predictions of its final coefficients: while it trained, its last net had another."""
    weights, predictions = one.checkpoint.model_weights, torch.from_numpy(one.predict(context.rows.x_val))
    return replace(
        one, checkpoint=replace(one.checkpoint, weights=weights, prediction_weights={}, predictions=predictions)
    )
