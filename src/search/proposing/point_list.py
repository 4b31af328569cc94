"""A search whose points are fixed before the first result."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import fidelity_rule
from src.search.protocol import Point, Spec
from src.study.history import History, Proposal

TRIES = 1000  # points looked at for each trial, where constraints leave some out


class PointList:
    """A `Search` that tries the feasible points in order, until all are tried or the trials are used up."""

    def __init__(self, spec: Spec, points: Callable[[], Iterable[Point]], pruner: Pruner) -> None:
        """Take as many feasible points as there are trials.

        Args:
            spec: the sweep.
            points: begins the list anew; it may be endless.
            pruner: the fidelity rule, by name or as a mapping of name and options.

        Raises:
            UserError: no point is feasible.
        """
        some = islice(points(), TRIES * spec.n_trials)
        self.points = list(islice(filter(spec.feasible, some), spec.n_trials))
        if not self.points:
            raise spec.refusal(list(islice(points(), TRIES)))
        self.spec = replace(spec, n_trials=len(self.points))
        self.fidelity = fidelity_rule(pruner, self.spec)
        self.depends_on_results = len(self.fidelity.rungs) > 1

    def propose(self, history: History, n: int) -> list[Proposal]:
        """The ends of trials alone, if there are any; else promotions, then the next points."""
        if ends := self.fidelity.ends(history):
            return ends[:n]
        begun = history.trials_from_scratch
        new = enumerate(self.points[begun : begun + n], start=begun)
        fresh = [Proposal(point, self.fidelity.first(number)) for number, point in new]
        return [*self.fidelity.promotions(history), *fresh][:n]

    def done(self, history: History) -> bool:
        """Tell whether all points have begun and no trial can go on."""
        going = any(history.of("running", "paused")) or self.fidelity.promotions(history)
        return history.trials_from_scratch >= len(self.points) and not going
