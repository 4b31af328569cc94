"""Local search (White et al. 2021): from the best point to the first better neighbour, and anew from a local optimum."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import fidelity_rule
from src.search.points.descents import Descents
from src.search.points.mutation import neighbours, random_point
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.ranking import ranking, results
from src.search.protocol import Point, Search, Spec, refuse_several_objectives
from src.study.history import History

TRIES = 100  # points drawn for a new start that neighbours nothing tried


def local(spec: Spec, *, n_startup_trials: Annotated[int, Field(ge=1)], pruner: Pruner) -> Search:
    """Draw an untried neighbour of the best point, which differs in one dimension or choice.

    When all neighbours of the best are tried, the next descent starts at a random point. While results are on their
    way several descents may be open, and that with the better best goes on.

    Args:
        spec: the sweep.
        n_startup_trials: how many random points the first descent chooses its start from.
        pruner: the fidelity rule.
    """
    refuse_several_objectives(spec, "local")
    rule, descents = fidelity_rule(pruner, spec), Descents(n_startup_trials)

    def source(history: History, points: Sequence[Point], seed: int, fixed: Point, /) -> Point:
        rng = np.random.default_rng(seed)
        trials = [*spec.earlier, *history.trials]
        if len(points) >= n_startup_trials:
            best_first = ranking(results(trials, rule), rule.rungs, spec.direction)
            for best in descents.bests([trial.params for trial in trials], [trial.params for trial in best_first]):
                if near := [point for point in neighbours(spec.space, best, rng) if not _tried(point, best, points)]:
                    return near[int(rng.integers(len(near)))]
        starts = [random_point(spec.space, rng) for _ in range(TRIES)]
        fresh = [start for start in starts if start not in points] or starts
        return next((s for s in fresh if not any(descents.adjacent(s, point) for point in points)), fresh[0])

    return HistorySampler(spec, source, rule)


def _tried(point: Point, best: Point, points: Sequence[Point]) -> bool:
    """Tell whether one of `points` equals the neighbour `point` of `best` in all that the two share."""
    shared = {name: value for name, value in point.items() if name in best}
    return any(all(name in other and other[name] == value for name, value in shared.items()) for other in points)
