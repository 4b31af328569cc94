"""Columns of what differs between members at a step: the order of rows, the optimizer's settings, random numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.optim.optimizer import Optimizer, rate_scale, warmup
from src.optim.schedule import Cyclic, Position, Schedule, watched
from src.population.batching import steps_before
from src.population.member import Member


class Columns:
    """The columns of a population. They follow from configs, seeds, epochs and curves: there is no state to save."""

    def __init__(
        self,
        members: Sequence[Member],
        optimizers: Sequence[Optimizer],
        schedules: Sequence[Schedule],
        dropouts: int,
        rows: int,
        device: torch.device,
    ) -> None:
        """Take in the K `members` with an optimizer and a schedule each.

        Args:
            members: the members.
            optimizers: of one kind, each with a member's hyperparameters.
            schedules: of any kinds.
            dropouts: how many layers want a random number at each step.
            rows: how many training rows the data have.
            device: the device of the columns.
        """
        self.members, self.schedules, self.dropouts, self.device = members, schedules, dropouts, device
        self.rows = rows
        self.optimizer = optimizers[0]
        names = [f.name for f in fields(self.optimizer)]  # type: ignore[arg-type]
        table = {n: [float(getattr(o, n)) for o in optimizers] for n in names}
        table["lr"] = [rate * rate_scale(m.config) for rate, m in zip(table["lr"], members, strict=True)]
        self.hyper_1K1 = {n: torch.tensor(v, dtype=torch.float64)[None, :, None] for n, v in table.items()}
        cyclic = any(isinstance(schedule, Cyclic) for schedule in schedules)
        self.cycled = [n for n in ("momentum", "beta1") if n in self.hyper_1K1 and cyclic]

    def order(self, epochs: Sequence[int]) -> Tensor:
        """Shuffle each member's training rows into the order of its epoch [K, N]."""
        orders = []
        for member, epoch in zip(self.members, epochs, strict=True):
            shuffle = np.random.default_rng([member.seed, 1, epoch])
            orders.append(torch.from_numpy(shuffle.permutation(self.rows if member.rows is None else member.rows)))
        return (torch.stack(orders) if len(orders) > 1 else orders[0][None]).to(self.device)  # of one no copy is made

    def steps(
        self, epochs: Sequence[int], curves: Sequence[Mapping[str, Sequence[float]]], count: int
    ) -> list[dict[str, Tensor]]:
        """Return for each step of an epoch the optimizer's columns and the rates `lr` [K, 1], random `keys` [K, 1 + L].

        Args:
            epochs: how many each member has done.
            curves: each member's curves so far.
            count: the steps of the epoch.
        """
        done = [self._steps_before(member, epoch) for member, epoch in zip(self.members, epochs, strict=True)]
        step_SK1 = torch.from_numpy(np.array(done) + np.arange(1.0, count + 1)[:, None])[..., None]
        step_SK = np.array(epochs) * count + np.arange(count)[:, None]  # as if all epochs had as many
        h = {**self.hyper_1K1, **self._scheduled(step_SK, curves, count)}
        columns = self.optimizer.columns(h, step_SK1) | {"lr": h["lr"]}
        columns = {n: c.expand(count, -1, -1).float().to(self.device) for n, c in columns.items()}
        columns["keys"] = torch.from_numpy(self._keys(epochs, count)).to(self.device)
        rows = zip(*(c.unbind() for c in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _steps_before(self, member: Member, epoch: int) -> int:
        return steps_before(member.config, self.rows if member.rows is None else len(member.rows), epoch)

    def _scheduled(
        self, step_SK: NDArray[np.int64], curves: Sequence[Mapping[str, Sequence[float]]], per_epoch: int
    ) -> dict[str, Tensor]:
        """Return the rates of these steps, and the momenta where a schedule cycles them [S, K, 1]."""
        places = [
            Position(
                step_SK[:, k].astype(np.float64),
                per_epoch,
                member.config.epochs,
                {name: curves[k].get(name, ()) for name in watched(schedule)},
            )
            for k, (member, schedule) in enumerate(zip(self.members, self.schedules, strict=True))
        ]
        pairs = list(zip(self.schedules, places, strict=True))
        factors = {"lr": [schedule.factor(at) for schedule, at in pairs]}
        for k, member in enumerate(self.members):
            if member.config.batch_scaling.rise_epochs:
                factors["lr"][k] = factors["lr"][k] * warmup(member.config, places[k].epoch)
        for momentum in self.cycled:
            still = np.ones(len(step_SK))
            factors[momentum] = [s.momentum_factor(at) if isinstance(s, Cyclic) else still for s, at in pairs]
        return {n: torch.from_numpy(np.stack(f, 1))[..., None] * self.hyper_1K1[n] for n, f in factors.items()}

    def _keys(self, epochs: Sequence[int], count: int) -> NDArray[np.int32]:
        """Return random numbers [S, K, 1 + L]: at each step one for the step and one a dropout layer."""
        shape = count, 1 + self.dropouts
        seeds = [np.random.SeedSequence([m.seed, 2, e]) for m, e in zip(self.members, epochs, strict=True)]
        return np.stack([s.generate_state(shape[0] * shape[1]).view(np.int32).reshape(shape) for s in seeds], 1)
