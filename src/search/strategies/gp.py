"""Bayesian optimization with a Gaussian process and expected improvement, over rungs: one model a branch.

The number of epochs is one more dimension of the model, so that what few epochs say helps until there are enough of the
longer trainings, and never misleads after that (Swersky et al. 2013: several fidelities as one process).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field
from threadpoolctl import ThreadpoolController

from src.search.fidelity.pruning import Pruner
from src.search.fidelity.rule import Fidelity, fidelity
from src.search.points.branches import Branches
from src.search.points.candidates import keys
from src.search.points.encoding import Box, fresh
from src.search.points.gaussian_process import Floats, GaussianProcess
from src.search.proposing.by_history import Drawn
from src.search.proposing.ranking import ranked, results
from src.search.protocol import Point, Search, Spec, one_objective
from src.study.history import History, Trial

START = {False: 5, True: 10}  # random points first; where there are rungs, most of them cost little
ENOUGH = 15  # values of a rung that make those of lower rungs superfluous
MOST = 200  # values that the model is told: the better half of them the best
CANDIDATES, BEST, ROUNDS, CLIMBERS = 300, 10, 4, 5  # from anywhere; of these so many looked around, and climbed from
OUTLIER = 3.0  # times as far from the median as the best: as bad as it gets


def gp(spec: Spec, *, n_startup_trials: Annotated[int, Field(ge=1)] | None, pruner: Pruner) -> Search:
    """Draw where the model expects the largest improvement; the first `n_startup_trials` of each branch are random."""
    one_objective(spec, "gp")
    rule, branches = fidelity(pruner, spec), Branches(spec.space)
    startup = n_startup_trials or START[len(rule.rungs) > 1]
    boxes = [Box(spec.space.only(chosen)) for chosen, _ in branches.leaves]

    def draw(history: History, points: Sequence[Point], seed: int) -> Point:
        rng = np.random.default_rng(seed)
        best_first = ranked(results([*spec.earlier, *history.trials], rule), rule.rungs, spec.direction)
        leaves = [branches.of(trial.params) for trial in best_first]
        leaf = branches.draw(leaves, rng)
        own = [trial for trial, place in zip(best_first, leaves, strict=True) if place == leaf]
        if len(own) < startup:
            return boxes[leaf].point(boxes[leaf].anywhere(1, rng)[0])
        judged = keys(trial.params for trial in own)
        pending = [p for p in points if branches.of(p) == leaf and frozenset(p.items()) not in judged]
        with _one_thread():
            return _most_promising(boxes[leaf], own, pending, rule, 1 if spec.direction == "minimize" else -1, rng)

    return Drawn(spec, draw, rule)


def _most_promising(
    box: Box,
    known: Sequence[Trial],
    pending: Sequence[Point],
    rule: Fidelity,
    sign: int,
    rng: np.random.Generator,
) -> Point:
    """The point of the largest expected improvement after a full training; `known`: all results, the best first."""
    several = len(rule.rungs) > 1

    def rows(x_ND: Floats, scale: float | Floats = 1.0) -> Floats:
        return np.column_stack([x_ND, np.broadcast_to(scale, len(x_ND))]) if several else x_ND

    x_ND = box.rows([trial.params for trial in known])
    value_NR = shifted(at_rungs(known, rule.rungs, sign))
    trial_V, rung_V = np.nonzero(np.isfinite(value_NR))
    y_V = standardised(value_NR[trial_V, rung_V])
    told_V = _told(y_V)
    scale_R = np.log(rule.rungs) / np.log(rule.rungs[-1]) if several else np.ones(1)
    x_VD = rows(x_ND[trial_V[told_V]], scale_R[rung_V[told_V]])
    model = GaussianProcess(x_VD, y_V[told_V], [*box.groups(), *[[x_VD.shape[1] - 1]] * several])
    best = float(model.predict(rows(x_ND))[0].min())
    model = model.given(rows(box.rows(pending))) if pending else model

    tried = box.keys([*(trial.params for trial in known), *pending])
    x_CD = fresh(np.concatenate([box.anywhere(CANDIDATES, rng), box.around(x_ND[:BEST], rng)]), tried)
    if not len(x_CD):
        return box.point(box.anywhere(1, rng)[0])
    promise_C = model.promise(rows(x_CD), best)
    for turn in range(ROUNDS + 1):
        order = np.argsort(-promise_C, kind="stable")
        if turn < ROUNDS:
            more_MD = box.around(x_CD[order[:BEST]], rng)
        else:
            tops = [model.climb(x_D, box.smooth, best) for x_D in rows(x_CD[order[: CLIMBERS * bool(box.smooth)]])]
            more_MD = box.valid(np.array(tops)[:, : box.width]) if tops else x_CD[:0]
        more_MD = fresh(more_MD, tried)
        if len(more_MD):
            x_CD, promise_C = np.concatenate([x_CD, more_MD]), np.append(promise_C, model.promise(rows(more_MD), best))
    return box.point(x_CD[int(np.argmax(promise_C))])


def at_rungs(trials: Sequence[Trial], rungs: Sequence[int], sign: int) -> Floats:
    """Values to be minimized [N, R], NaN where a trial has not come; only of the rungs that matter.

    These are the highest with `ENOUGH` values and those above it. Who failed or diverged is as bad there as the worst.
    """
    value_NR = np.full((len(trials), len(rungs)), np.nan)
    for n, trial in enumerate(trials):
        for r, rung in enumerate(rungs):
            if trial.state != "fail" and trial.values and (trial.epochs >= rung or trial.state == "complete"):
                value_NR[n, r] = sign * trial.values[min(rung, trial.epochs) - 1]
    value_NR[~np.isfinite(value_NR)] = np.nan
    there_R = np.isfinite(value_NR).sum(0)
    lowest = next((r for r in reversed(range(len(rungs))) if there_R[r] >= ENOUGH), 0)
    value_NR[:, :lowest] = np.nan
    lost_N = np.array([trial.state == "fail" or not all(np.isfinite(trial.values)) for trial in trials])
    value_NR[lost_N, lowest] = np.nanmax(value_NR[:, lowest]) if there_R[lowest] else 0.0
    return value_NR


def shifted(value_NR: Floats) -> Floats:
    """The values of each rung as if trained to the end: moved by what training on changed, in the median."""
    moved = value_NR.copy()
    for r in reversed(range(value_NR.shape[1] - 1)):
        change_N = value_NR[:, r + 1] - value_NR[:, r]
        known_N = change_N[np.isfinite(change_N)]
        moved[:, : r + 1] += np.median(known_N) if len(known_N) else 0.0
    return moved


def standardised(value_V: Floats) -> Floats:
    """Mean zero and variance one, with outliers drawn in: how bad the bad ones are tells little of the good ones."""
    middle = np.median(value_V)
    value_V = np.minimum(value_V, middle + OUTLIER * (middle - value_V.min()))
    return np.asarray((value_V - value_V.mean()) / max(value_V.std(), 1e-12))


def _told(y_V: Floats) -> Any:
    """Places of at most `MOST` values: the best half, and of the others each so many."""
    if len(y_V) <= MOST:
        return np.arange(len(y_V))
    order_V = np.argsort(y_V, kind="stable")
    others = order_V[MOST // 2 :]
    return np.sort(np.append(order_V[: MOST // 2], others[:: -(-len(others) // (MOST // 2))]))


def _one_thread() -> AbstractContextManager[Any]:
    """Sums in the same order on any number of cores."""
    return cast(AbstractContextManager[Any], _libraries().limit(limits=1))


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks for them: a millisecond
