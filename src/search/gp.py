"""Bayesian optimization with a Gaussian process and expected improvement, over rungs: one model a branch.

The number of epochs is one more dimension of the model, so that what few epochs say helps until there are enough of the
longer trainings, and never misleads after that (Swersky et al. 2013: several fidelities as one process).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Annotated, Any, cast

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from pydantic import Field
from threadpoolctl import ThreadpoolController

from src.history import History, Trial
from src.search import Search, Spec, cube, one_objective
from src.search.branches import Branches
from src.search.candidates import Table, anywhere, around, fresh, keys
from src.search.drawn import Drawn, Point
from src.search.fidelity import Fidelity, fidelity
from src.search.gaussian import Floats, GaussianProcess
from src.search.pruning import Pruner
from src.search.ranked import ranked, results
from src.space import Space

START = {False: 5, True: 10}  # random points first; where there are rungs, most of them cost little
ENOUGH = 15  # values of a rung that make those of lower rungs superfluous
MOST = 200  # values that the model is told: the better half of them the best
CANDIDATES, BEST, ROUNDS, CLIMBERS = 300, 10, 4, 5  # from anywhere; of these so many looked around, and climbed from
OUTLIER = 3.0  # times as far from the median as the best: as bad as it gets
SMOOTH = 16  # steps of a whole number from which on it is climbed as if it had none


def gp(spec: Spec, *, n_startup_trials: Annotated[int, Field(ge=1)] | None, pruner: Pruner) -> Search:
    """Draw where the model expects the largest improvement; the first `n_startup_trials` of each branch are random."""
    one_objective(spec, "gp")
    rule, branches = fidelity(pruner, spec), Branches(spec.space)
    startup = n_startup_trials or START[len(rule.rungs) > 1]
    spaces = [spec.space.only(chosen) for chosen, _ in branches.leaves]
    tables = [Table(space) for space in spaces]

    def draw(history: History, points: Sequence[Point], seed: int) -> Point:
        rng = np.random.default_rng(seed)
        best_first = ranked(results([*spec.earlier, *history.trials], rule), rule.rungs, spec.direction)
        leaves = [branches.of(trial.params) for trial in best_first]
        leaf = branches.draw(leaves, rng)
        own = [trial for trial, place in zip(best_first, leaves, strict=True) if place == leaf]
        if len(own) < startup:
            return anywhere(spaces[leaf], rng)
        judged = keys(trial.params for trial in own)
        pending = [p for p in points if branches.of(p) == leaf and frozenset(p.items()) not in judged]
        with _one_thread():
            return _most_promising(
                spaces[leaf], tables[leaf], own, pending, rule, 1 if spec.direction == "minimize" else -1, rng
            )

    return Drawn(spec, draw, rule)


def _most_promising(
    space: Space,
    table: Table,
    known: Sequence[Trial],
    pending: Sequence[Point],
    rule: Fidelity,
    sign: int,
    rng: np.random.Generator,
) -> Point:
    """The point of the largest expected improvement after a full training; `known`: all results, the best first."""
    several = len(rule.rungs) > 1

    def rows(points: Sequence[Point], scale: float | Floats = 1.0) -> Floats:
        x_ND = table.rows(points).astype(np.float64)
        return np.column_stack([x_ND, np.broadcast_to(scale, len(x_ND))]) if several else x_ND

    value_NR = shifted(at_rungs(known, rule.rungs, sign))
    trial_V, rung_V = np.nonzero(np.isfinite(value_NR))
    y_V = standardised(value_NR[trial_V, rung_V])
    told_V = _told(y_V)
    scale_R = np.log(rule.rungs) / np.log(rule.rungs[-1]) if several else np.ones(1)
    x_VD = rows([known[k].params for k in trial_V[told_V]], scale_R[rung_V[told_V]])
    model = GaussianProcess(x_VD, y_V[told_V], [*table.groups(), *[[x_VD.shape[1] - 1]] * several])
    best = float(model.predict(rows([trial.params for trial in known]))[0].min())
    model = model.given(rows(pending)) if pending else model

    tried = keys([*(trial.params for trial in known), *pending])
    candidates = fresh((anywhere(space, rng) for _ in range(CANDIDATES)), tried)
    candidates += around(space, [trial.params for trial in known[:BEST]], tried, rng)
    if not candidates:
        return anywhere(space, rng)
    promises = model.promise(rows(candidates), best)
    free = [column for column, d in enumerate(table.numbers.values()) if _smooth(d)]
    for turn in range(ROUNDS + 1):
        order = np.argsort(-promises, kind="stable")
        if turn < ROUNDS:
            more = around(space, [candidates[k] for k in order[:BEST]], tried, rng)
        else:
            starts = [candidates[k] for k in order[:CLIMBERS]] if free else []
            more = fresh((_climbed(model, p, rows([p])[0], table, free, best) for p in starts), tried)
        if more:
            candidates, promises = [*candidates, *more], np.append(promises, model.promise(rows(more), best))
    return candidates[int(np.argmax(promises))]


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


def _smooth(d: BaseDistribution) -> bool:
    if isinstance(d, IntDistribution):
        return (d.high - d.low) // d.step >= SMOOTH
    return isinstance(d, FloatDistribution) and not d.step


def _climbed(
    model: GaussianProcess, point: Point, x_D: Floats, table: Table, free: Sequence[int], best: float
) -> Point:
    top_D = model.climb(x_D, free, best)
    names = list(table.numbers)
    moved = {names[k]: cube.value(table.numbers[names[k]], float(top_D[k])) for k in free}
    return {**point, **moved}
