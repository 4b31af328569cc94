"""Population-based training (Jaderberg et al. 2017): a member that falls behind goes on as a changed copy of a better one.

It goes by generations: no member trains on before all have come to an epoch. So the ranking compares equals, a copy has as
many epochs as what it replaces, and a population stays together, which is how it trains fast.
"""

import math
import re
from dataclasses import replace
from typing import Annotated

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from pydantic import Field

from src.config.space import Leaf
from src.search.points.mutation import neighbour
from src.search.protocol import Search, Spec, refuse_several_objectives, require_equal_epochs
from src.search.strategies.random import random
from src.study.history import History, Proposal, Trial
from src.system.errors import UserError

# Keys that may change in mid-training: neither a tensor's shape nor the data follow from them.
FREE = re.compile(r"(optimizer|schedule)\.(?!name$|_target_$).+|training\.(?!name$|accumulate$)\w+|model\.dropout")


class PopulationBased:
    """Train as many members as there are trials; each generation of a member is a trial that begins as its parent ended."""

    depends_on_results = False  # the whole population may be in flight

    def __init__(self, spec: Spec, interval: int, quantile: float, factor: float, resample: float) -> None:
        """Make the search; for its options `interval`, `quantile`, `factor` and `resample` of a sweep `spec` see `pbt`.

        Raises:
            UserError: nothing in the space may change in mid-training.
        """
        refuse_several_objectives(spec, "pbt")
        require_equal_epochs(spec, "pbt")
        self.spec, self.interval, self.quantile = spec, interval, quantile
        self.factor, self.resample = factor, resample
        self.scratch = random(spec, pruner="none")
        if not any(_free(leaf) for _, leaf in spec.space.leaves()):
            raise UserError(
                "search: pbt has nothing to change in mid-training; "
                "give space a dimension of optimizer, schedule or training, or model.dropout"
            )

    def propose(self, history: History, n: int) -> list[Proposal]:
        """The first members, then a generation whenever all have come to an epoch."""
        trials_from_scratch = [replace(trial, state="complete") for trial in history.trials if not trial.start_from]
        if len(trials_from_scratch) < self.spec.n_trials:
            points = self.scratch.propose(History(history.direction, trials_from_scratch), n)
            return [replace(point, epochs=self._next(0)) for point in points]
        epoch = min((trial.epochs for trial in history.of("paused")), default=0)
        behind = any(trial.epochs < epoch for trial in history.of("running"))
        return [] if behind or not epoch else self._generation(history, epoch)[:n]

    def done(self, history: History) -> bool:
        """Tell whether all members have come to their end."""
        trials_from_scratch = sum(not trial.start_from for trial in history.trials)
        return trials_from_scratch >= self.spec.n_trials and not any(history.of("running", "paused"))

    def _generation(self, history: History, epoch: int) -> list[Proposal]:
        """The proposals once all have come to an epoch: the worst end, copies of the best replace them, the others go on.

        However many of these a crash lets through, the rest is the same: the ranking does not change any more.
        """
        ranking = _ranking(history, epoch)
        count = min(math.ceil(self.quantile * len(ranking)), len(ranking) // 2)
        worst = {trial.number for trial in ranking[len(ranking) - count :]}
        here = [trial for trial in ranking if trial.state == "paused" and trial.epochs == epoch]
        parents = [trial for trial in here if trial.number not in worst][:count]
        ended = [trial for trial in here if parents and trial.number in worst]
        born = sum(trial.inherited == epoch for trial in history.trials)
        missing = len(ended) + sum(_is_over(trial, epoch) for trial in ranking) if parents else 0
        first = len(history.trials)
        return [
            *(Proposal(trial.params, epoch, trial.number) for trial in ended),
            *(self._child(parents, epoch, number) for number in range(first, first + missing - born)),
            *(Proposal(t.params, self._next(epoch), t.number) for t in here if t not in ended),
        ]

    def _next(self, epoch: int) -> int:
        """The epoch at which all meet next."""
        return min(epoch + self.interval, self.spec.epochs)

    def _child(self, parents: list[Trial], epoch: int, number: int) -> Proposal:
        """A trial that begins with one parent's weights, and parameters near its own."""
        draw = np.random.default_rng([self.spec.seed, number])
        parent = parents[draw.integers(len(parents))]
        free = _free(self.spec.space.leaf(parent.params))
        resampled = optuna.create_study(sampler=RandomSampler(int(draw.integers(2**32)))).ask(free).params
        changed = {
            name: resampled[name]
            if draw.random() < self.resample
            else neighbour(distribution, parent.params[name], self.factor, bool(draw.integers(2)))
            for name, distribution in free.items()
        }
        return Proposal({**parent.params, **changed}, self._next(epoch), None, (parent.number, epoch))


def pbt(
    spec: Spec,
    *,
    interval: Annotated[int, Field(gt=0)] | None,
    quantile: Annotated[float, Field(gt=0, le=0.5)],
    factor: Annotated[float, Field(gt=1)],
    resample: Annotated[float, Field(ge=0, le=1)],
) -> Search:
    """Train `n_trials` members, of which the worst become changed copies of the best now and then.

    Args:
        spec: the sweep.
        interval: epochs of a generation; None is a tenth of all.
        quantile: the share of members that is replaced.
        factor: by which a number is multiplied or divided in a copy.
        resample: the probability of a new random value instead.
    """
    return PopulationBased(spec, interval or max(1, spec.epochs // 10), quantile, factor, resample)


def _free(leaf: Leaf) -> dict[str, BaseDistribution]:
    """The dimensions that may change in mid-training."""
    return {
        name: dimension.distribution for name, dimension in leaf.dimensions.items() if FREE.fullmatch(dimension.key)
    }


def _ranking(history: History, epoch: int) -> list[Trial]:
    """The members that trained up to an epoch, the best first; those that failed on the way come last."""
    sign = 1 if history.direction == "minimize" else -1

    def place(trial: Trial) -> tuple[bool, float, int]:
        failed = trial.state == "fail" and _is_over(trial, epoch)
        return failed, 0.0 if failed else sign * trial.values[epoch - 1], trial.number

    members = (trial for trial in history.trials if trial.inherited < epoch)
    return sorted((trial for trial in members if trial.epochs >= epoch or _is_over(trial, epoch)), key=place)


def _is_over(trial: Trial, epoch: int) -> bool:
    """Tell whether a trial ended at an epoch, or failed on its way there."""
    return trial.target == epoch and trial.state in ("pruned", "fail")
