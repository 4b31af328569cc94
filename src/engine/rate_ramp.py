"""The training of learning-rate range tests: one member whose rate rises, or members side by side, each at its rate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.config.components import make
from src.engine.fusing import fusing_obstacle, rows
from src.engine.task import WorkerSetup
from src.optim.optimizer import rate_scale
from src.optim.schedule import Position, Schedule, Steps
from src.population.batching import batch_starts
from src.population.member import Member
from src.population.population import Population
from src.population.rows import Rows
from src.population.seeds import derived_seed
from src.system.trial_config import TrialConfig


@dataclass(frozen=True)
class Ramp:
    """A schedule from the member's rate to `times` as much: exponentially (fastai), or linearly (Smith 2015)."""

    times: float = 1e8
    linear: bool = False

    def factor(self, at: Position) -> Steps:
        """Return the factor of the rate at each step [S], from 1 to `times`."""
        share = at.step / max(at.total - 1, 1)
        return np.asarray(1 + (self.times - 1) * share if self.linear else self.times**share, dtype=np.float64)


WATCHED = 512  # validation rows that are looked at on the way

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class RampCurves:
    """Rates [S] of `optimizer.lr`, training losses before each step [K, S], and scores on the watched rows after it [K, S].

    `score` names the score: `accuracy`, or `r2` for regression, the share of the variance that is explained. It is NaN
    where the rows were not looked at.
    """

    rate_S: Curve
    loss_KS: Curve
    score_KS: Curve
    score: str

    def points(self) -> list[dict[str, float | None]]:
        """Return means over the members, a point a step; a score that was not looked at is null."""
        means = zip(self.rate_S.tolist(), self.loss_KS.mean(0).tolist(), self.score_KS.mean(0).tolist(), strict=True)
        return [{"lr": rate, "loss": loss, "accuracy": None, self.score: score} for rate, loss, score in means]


def ramp(
    config: TrialConfig,
    setup: WorkerSetup,
    seed: int,
    *,
    seeds: int,
    low: float,
    high: float,
    steps: int,
    linear: bool = False,
    watch: int = 1,
    over: Callable[[Curve], bool] = lambda loss_KS: False,
) -> RampCurves:
    """Train members while `optimizer.lr` rises, and return their losses and scores on the way.

    The optimizer is the config's, its scaling by the batch size too; the schedule is the ramp.

    Args:
        config: a trial's config.
        setup: the data and the device.
        seed: the members' seeds follow from it.
        seeds: how many members.
        low: the rate at the first step.
        high: the rate at the last.
        steps: from `low` to `high`.
        linear: whether the rate rises linearly; else exponentially.
        watch: steps between two looks at the watched rows.
        over: tells from the losses [K, S] so far, after every look, whether to end early.
    """
    scaling = replace(config.batch_scaling, rise_epochs=0.0).to_json()
    config = replace(config, epochs=1).with_optimizer(lr=low, batch_scaling=scaling)
    population = _population(
        [(config, derived_seed(seed, "rate ramp", k)) for k in range(seeds)], setup, Ramp(high / low, linear)
    )
    batch, data = config.batch_size, population.data
    passes = -(-steps * batch // len(data.x_train))
    order_KN = torch.cat([population.next_order(epoch) for epoch in range(passes)], 1)
    losses: list[list[float]] = []
    scores: list[list[float]] = []
    columns = population.next_steps(steps)
    for s, column in enumerate(columns):
        population.stack.train_mode()
        losses.append(population.step(order_KN[:, s * batch : (s + 1) * batch], column).tolist())
        looked = (s + 1) % watch == 0
        scores.append(_scores(population).tolist() if looked else [np.nan] * seeds)
        if looked and over(np.array(losses).T):
            break
    rates = [float(column["lr"][0]) / rate_scale(config) for column in columns[: len(losses)]]
    return RampCurves(np.array(rates), np.array(losses).T, np.array(scores).T, _score(data))


def side_by_side(config: TrialConfig, setup: WorkerSetup, seed: int, rates: Sequence[float], epochs: int) -> RampCurves:
    """Train a member at each of S rates, with the same weights, rows and order; return validation losses and scores [1, S].

    The schedule is the config's, as if these epochs were the whole run: one that falls in the end bears a higher rate than
    one that stays.

    Args:
        config: a trial's config.
        setup: the data and the device.
        seed: the members' seed follows from it.
        rates: S values of `optimizer.lr`.
        epochs: how many each member trains.
    """
    settings = [replace(config, epochs=epochs).with_optimizer(lr=rate) for rate in rates]
    population = _population([(trial, derived_seed(seed, "parallel rates")) for trial in settings], setup)
    for _ in range(epochs):
        points = population.epoch()
    loss_S = np.array([point["val/loss"] for point in points])
    if population.data.classification:
        score_S = np.array([point["val/accuracy"] for point in points])
    else:
        score_S = 1 - loss_S / float(_variance(population.data.y_val))
    return RampCurves(np.array(rates), loss_S[None], score_S[None], _score(population.data))


def steps_per_epoch(config: TrialConfig, setup: WorkerSetup) -> int:
    """Count the steps of one pass over the training rows."""
    return len(batch_starts(len(rows(setup).x_train), config.batch_size))


def _population(
    members: Sequence[tuple[TrialConfig, int]], setup: WorkerSetup, schedule: Schedule | None = None
) -> Population:
    together = [Member(config, seed) for config, seed in members]
    return Population(
        together,
        rows(setup),
        lambda config: make("optimizer", config.optimizer),
        lambda config: schedule or make("schedule", config.schedule),
        fused=len(together) > 1 and not fusing_obstacle(together[0], setup),
    )


def _score(data: Rows) -> str:
    return "accuracy" if data.classification else "r2"


def _scores(population: Population) -> Tensor:
    """Return each member's score on the watched rows [K]."""
    data: Rows = population.data
    x, y = data.x_val[:WATCHED], data.y_val[:WATCHED]
    output_KNC = population.predict(x)
    if data.classification:
        return (output_KNC.argmax(2) == y).double().mean(1)
    return 1 - (output_KNC.squeeze(2) - y).double().square().mean(1) / _variance(y)


def _variance(y: Tensor) -> Tensor:
    return y.double().var(correction=0).clamp_min(1e-12)
