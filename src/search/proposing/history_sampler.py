"""A search that draws each point as a function of the history and a seed, and ends trials by a fidelity rule."""

import numpy as np
from optuna.samplers import RandomSampler

from src.search.fidelity.rule import Fidelity
from src.search.points.priors import Priors
from src.search.proposing.observations import best_first, observations
from src.search.proposing.optuna_sampler import OptunaSampler
from src.search.protocol import Point, PointSource, Spec
from src.study.history import History, Proposal

GUIDED, TRIES = 20, 1000  # draws for a feasible point: from the source, and in all


class HistorySampler:
    """A `Search` whose points come from a `PointSource`, each seeded by (study seed, trial number).

    The first points of the sweep and the priors of the space decide some values before the source is asked.
    """

    def __init__(self, spec: Spec, source: PointSource, fidelity: Fidelity, depends_on_results: bool = True) -> None:
        """Join a source of points with a rule of how long they train.

        Args:
            spec: the sweep.
            source: draws the points.
            fidelity: says which trials go on.
            depends_on_results: whether the source looks at results.
        """
        self.spec, self.source, self.fidelity = spec, source, fidelity
        self.depends_on_results = depends_on_results or len(fidelity.rungs) > 1
        self.priors = Priors(spec.space)
        self._random = OptunaSampler(spec, lambda seed: RandomSampler(seed=seed), fidelity.rungs)

    def propose(self, history: History, n: int) -> list[Proposal]:
        """The ends of trials alone, if there are any; else promotions, then new points."""
        if ends := self.fidelity.ends(history):
            return ends[:n]
        proposals = self.fidelity.promotions(history)
        count = min(n - len(proposals), self.spec.n_trials - history.trials_from_scratch)
        first = len(history.trials) + sum(proposal.trial is None for proposal in proposals)
        points = [trial.params for trial in [*self.spec.earlier, *history.trials]] if count > 0 else []
        for k in range(count):
            points.append(self._promising_point(history, points, first + k, history.trials_from_scratch + k))
            proposals.append(Proposal(points[-1], self.fidelity.first(first + k)))
        return proposals[:n]

    def done(self, history: History) -> bool:
        """Tell whether all trials have begun and none can go on."""
        going = any(history.of("running", "paused")) or self.fidelity.promotions(history)
        return history.trials_from_scratch >= self.spec.n_trials and not going

    def _promising_point(self, history: History, points: list[Point], number: int, place: int) -> Point:
        """The point of trial `number`: of as many candidates as the sweep wants, that with the best proxy."""
        if self.spec.proxy is None or place < len(self.spec.first):
            return self._feasible_point(history, points, number, place)
        draws = [self._feasible_point(history, points, number, place, k) for k in range(self.spec.candidates)]
        return max(draws, key=self.spec.proxy)

    def _feasible_point(
        self, history: History, points: list[Point], number: int, place: int, candidate: int = 0
    ) -> Point:
        """The point of trial `number`, the `place`-th that begins anew; after an infeasible one another is drawn.

        Raises:
            UserError: no feasible point was drawn.
        """
        refused: list[Point] = []
        for retry in range(TRIES):
            seed = _seed(self.spec.seed, number, *([retry, candidate] if candidate else [retry] * (retry > 0)))
            source = self.source if retry < GUIDED else self._random
            fixed = {} if retry else self._fixed(history, place)
            point = source(history, [*points, *refused], seed, fixed)
            if fixed:  # below a choice that is fixed a source of whole points has no values
                point = self._random(history, points, seed, {**point, **fixed})
            if self.spec.feasible(point):
                return point
            refused.append(point)
        raise self.spec.refusal(refused)

    def _fixed(self, history: History, place: int) -> Point:
        """The values that stand before the source is asked: the sweep's first points, then what a prior draws."""
        if place < len(self.spec.first):
            return self.spec.first[place]
        if not self.priors.names:
            return {}
        sign = 1 if self.spec.direction == "minimize" else -1
        best = best_first(observations(self.spec, self.fidelity.rungs, history), sign)
        return self.priors.fixed(place - len(self.spec.first), self.spec.seed, best)


def _seed(seed: int, *place: int) -> int:
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0])
