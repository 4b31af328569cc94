"""Growth: from the smallest net upward, by one step of depth or width at a time, until the validation value stops rising."""

from dataclasses import replace
from math import ceil
from typing import Annotated, Any

from optuna.distributions import IntDistribution
from pydantic import Field

from src.search.protocol import Search, Spec, refuse_several_objectives
from src.search.strategies.random import random
from src.study.history import History, Proposal, Trial
from src.system.errors import UserError

DEEPER, WIDER = ("model.depth",), ("model.width", "model.channels")


class Grow:
    """Train `n_trials` random points with the smallest net, then a deeper and a wider child of the best, and so on.

    A child begins with its parent's weights where that net computes the same (see `src/engine/net_growth.py`), and trains
    for as many epochs.
    """

    depends_on_results = False  # all that begin with the smallest net may be in flight

    def __init__(self, spec: Spec, factor: float, gain: float) -> None:
        """Grow nets in the sweep `spec`, by `factor`, while each step betters the value by the share `gain`.

        Raises:
            UserError: the space has no size to grow.
        """
        refuse_several_objectives(spec, "grow")
        self.spec, self.factor, self.gain = spec, factor, gain
        self.sizes = {
            name: (d.key, d.distribution)
            for _, leaf in spec.space.leaves()
            for name, d in leaf.dimensions.items()
            if d.key in (*DEEPER, *WIDER) and isinstance(d.distribution, IntDistribution)
        }
        if not self.sizes:
            raise UserError(
                "search: grow has nothing to grow; give space.model.depth, width or channels whole numbers from low to high"
            )
        smallest = replace(spec, measure=lambda params: spec.measure(self._smallest(params)))
        self.scratch = random(smallest, pruner="none")

    def propose(self, history: History, n: int) -> list[Proposal]:
        """The smallest nets first, then children."""
        trials_from_scratch = [replace(trial, state="complete") for trial in history.trials if not trial.start_from]
        if len(trials_from_scratch) < self.spec.n_trials:
            points = self.scratch.propose(History(history.direction, trials_from_scratch), n)
            return [replace(point, params=self._smallest(point.params)) for point in points]
        return self._children(history)[:n]

    def done(self, history: History) -> bool:
        """Tell whether nothing trains and no child is to come."""
        return not any(history.of("running")) and not self.propose(history, 1)

    def _smallest(self, params: Any) -> dict[str, Any]:
        return {n: self.sizes[n][1].low if n in self.sizes else value for n, value in params.items()}

    def _children(self, history: History) -> list[Proposal]:
        """The children still to come of the trial that grows now; none while others train, and in the end."""
        family = [trial for trial in history.trials if not trial.start_from]
        parent: Trial | None = None
        while not any(trial.state == "running" for trial in family):
            best = self._best(history, family)
            if best is None or (parent and not self._rises(history, parent, best)):
                return []
            parent = best
            family = [trial for trial in history.trials if trial.start_from and trial.start_from[0] == parent.number]
            larger = self._larger(parent)
            if len(family) < len(larger):
                source = parent.number, parent.epochs
                return [Proposal(p, self.spec.epochs, None, source, weights_only=True) for p in larger[len(family) :]]
        return []

    def _larger(self, parent: Trial) -> list[dict[str, Any]]:
        """The parent's parameters with one more layer, and with wider ones, as far as the space and the bounds allow."""
        children = []
        for name, (key, d) in self.sizes.items():
            if name in parent.params and parent.params[name] < d.high:
                value = parent.params[name]
                wanted = value + 1 if key in DEEPER else max(value + 1, value * self.factor)
                children.append({**parent.params, name: min(d.low + ceil((wanted - d.low) / d.step) * d.step, d.high)})
        return [params for params in children if self.spec.feasible(params)]

    def _best(self, history: History, family: list[Trial]) -> Trial | None:
        complete = [t for t in family if t.state == "complete" and history.goals.allow(t.measures)]
        return min(complete, key=lambda trial: (history.losses(trial), trial.number), default=None)

    def _rises(self, history: History, parent: Trial, child: Trial) -> bool:
        (before, *_), (after, *_) = history.losses(parent), history.losses(child)
        return after < before - self.gain * abs(before)


def grow(spec: Spec, *, factor: Annotated[float, Field(gt=1)], gain: Annotated[float, Field(ge=0)]) -> Search:
    """Add layers one at a time and multiply widths while that pays.

    Args:
        spec: the sweep; its `n_trials` nets begin with the smallest size.
        factor: by which a width grows.
        gain: the share of the value by which a child must better its parent.
    """
    return Grow(spec, factor, gain)
