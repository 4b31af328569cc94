"""A search whose points stand beforehand."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from src.search.fidelity.pruning import Pruner
from src.search.fidelity.rule import fidelity
from src.search.protocol import Spec
from src.study.history import History, Proposal

TRIES = 1000  # points looked at for each trial, where constraints leave some out


class Listed:
    """The feasible points in order, until all are tried or the trials are used up."""

    def __init__(self, spec: Spec, points: Callable[[], Iterable[Mapping[str, Any]]], pruner: Pruner) -> None:
        """Raises:
        UserError: no point is feasible.
        """
        some = islice(points(), TRIES * spec.n_trials)
        self.points = list(islice(filter(spec.feasible, some), spec.n_trials))
        if not self.points:
            raise spec.refusal(list(islice(points(), TRIES)))
        self.spec = replace(spec, n_trials=len(self.points))
        self.fidelity = fidelity(pruner, self.spec)
        self.depends_on_results = len(self.fidelity.rungs) > 1

    def propose(self, history: History, n: int) -> list[Proposal]:
        if ends := self.fidelity.ends(history):
            return ends[:n]
        begun = history.trials_from_scratch
        new = enumerate(self.points[begun : begun + n], start=begun)
        fresh = [Proposal(params, self.fidelity.first(number)) for number, params in new]
        return [*self.fidelity.promotions(history), *fresh][:n]

    def done(self, history: History) -> bool:
        going = any(history.of("running", "paused")) or self.fidelity.promotions(history)
        return history.trials_from_scratch >= len(self.points) and not going
