"""Policy gradient over the choices of a space (Williams 1992; Zoph & Le 2017), with a moving baseline and entropy."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import fidelity_rule
from src.search.points.policy import Policy
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.ranking import ranking, results
from src.search.protocol import Point, Search, Spec, refuse_several_objectives
from src.study.history import History

TRIES = 100  # for a point that has not been tried yet


def reinforce(
    spec: Spec,
    *,
    rate: Annotated[float, Field(gt=0)],
    entropy: Annotated[float, Field(ge=0)],
    baseline: Annotated[float, Field(ge=0, lt=1)],
    pruner: Pruner,
) -> Search:
    """Draw from a policy that learns from the results in the order of their trials.

    A reward is the share of the results so far that are no better, which no outlier and no unit of the objective sways.

    Args:
        spec: the sweep.
        rate: of the policy's steps.
        entropy: the weight of the policy's entropy in what it climbs.
        baseline: how much of the moving mean of rewards remains at each result.
        pruner: the fidelity rule.
    """
    refuse_several_objectives(spec, "reinforce")
    rule = fidelity_rule(pruner, spec)

    def source(history: History, points: Sequence[Point], seed: int, fixed: Point, /) -> Point:
        rng, policy, mean = np.random.default_rng(seed), Policy(spec.space), 0.5
        trials = results([*spec.earlier, *history.trials], rule)
        best_first = ranking(trials, rule.rungs, spec.direction)
        reward = {id(trial): 1 - (place + 0.5) / len(best_first) for place, trial in enumerate(best_first)}
        for trial in trials:
            policy.learn(trial.params, (reward[id(trial)] - mean) * np.sqrt(12), rate, entropy)
            mean = baseline * mean + (1 - baseline) * reward[id(trial)]
        for _ in range(TRIES):
            point = policy.draw(rng)
            if point not in points:
                break
        return point

    return HistorySampler(spec, source, rule)
