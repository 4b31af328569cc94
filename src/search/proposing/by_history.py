"""Points drawn whole: the values below a choice together with the choice."""

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from src.config.space import Space
from src.search.fidelity.rule import Fidelity
from src.search.proposing.by_sampler import Sampled
from src.search.protocol import Point, Spec
from src.study.history import History, Proposal


class Whole(BaseSampler):
    """Tells Optuna a whole point at once; what is fixed otherwise goes before it."""

    def __init__(self, space: Space, draw: Callable[[Sequence[FrozenTrial]], Point], seed: int) -> None:
        """`draw(trials)` is the point after those."""
        self.space, self.draw, self.random = space, draw, RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self.point = dict(self.draw(study.get_trials(deepcopy=False)[: trial.number]))
        return self.space.distributions(self.point)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.point

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        """A value below a choice that was fixed otherwise."""
        return self.random.sample_independent(study, trial, name, distribution)


class Drawn:
    """A search whose points are a function of the history, where a sampler's view of it would be too narrow."""

    depends_on_results = True

    def __init__(self, spec: Spec, draw: Callable[[History, Sequence[Point], int], Point], fidelity: Fidelity) -> None:
        """`draw(history, points, seed)` is the point after those, the last of which may not be in the history yet."""
        self.spec, self.draw = spec, draw
        self.sampled = Sampled(spec, lambda seed: RandomSampler(seed=seed), fidelity, depends_on_results=True)

    def propose(self, history: History, n: int) -> list[Proposal]:
        def sampler(seed: int) -> BaseSampler:
            return Whole(self.spec.space, lambda trials: self.draw(history, [t.params for t in trials], seed), seed)

        self.sampled.sampler = sampler
        return self.sampled.propose(history, n)

    def done(self, history: History) -> bool:
        return self.sampled.done(history)
