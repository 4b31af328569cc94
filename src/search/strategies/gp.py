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

from src.search.fidelity.optuna_pruner import Pruner
from src.search.fidelity.rule import Fidelity, fidelity_rule
from src.search.points.branches import Branches
from src.search.points.encoding import Encoding, untried
from src.search.points.gaussian_process import Floats, GaussianProcess
from src.search.proposing.history_sampler import HistorySampler
from src.search.proposing.ranking import ranking, results
from src.search.protocol import Point, Search, Spec, refuse_several_objectives
from src.study.history import History, Trial

START = {False: 5, True: 10}  # random points first; where there are rungs, most of them cost little
ENOUGH = 15  # values of a rung that make those of lower rungs superfluous
MOST_VALUES = 200  # in the model: the better half of them the best
CANDIDATES, BEST, ROUNDS, CLIMBERS = 300, 10, 4, 5  # random ones; of these so many looked around, and climbed from
OUTLIER = 3.0  # times as far from the median as the best: as bad as it gets


def gp(spec: Spec, *, n_startup_trials: Annotated[int, Field(ge=1)] | None, pruner: Pruner) -> Search:
    """Draw where the model expects the largest improvement.

    Args:
        spec: the sweep.
        n_startup_trials: how many points of each branch are random at first; None depends on the rungs.
        pruner: the fidelity rule.
    """
    refuse_several_objectives(spec, "gp")
    rule, branches = fidelity_rule(pruner, spec), Branches(spec.space)
    startup = n_startup_trials or START[len(rule.rungs) > 1]
    encodings = [Encoding(spec.space.only(chosen)) for chosen, _ in branches.leaves]

    def source(history: History, points: Sequence[Point], seed: int, fixed: Point, /) -> Point:
        rng = np.random.default_rng(seed)
        best_first = ranking(results([*spec.earlier, *history.trials], rule), rule.rungs, spec.direction)
        leaves = [branches.index(trial.params) for trial in best_first]
        leaf = branches.draw(leaves, rng)
        observed = [trial for trial, place in zip(best_first, leaves, strict=True) if place == leaf]
        encoding = encodings[leaf]
        if len(observed) < startup:
            return encoding.point(encoding.random_rows(1, rng)[0])
        done = {frozenset(trial.params.items()) for trial in observed}
        pending = [p for p in points if branches.index(p) == leaf and frozenset(p.items()) not in done]
        with _one_thread():
            return _most_promising(encoding, observed, pending, rule, 1 if spec.direction == "minimize" else -1, rng)

    return HistorySampler(spec, source, rule)


def _most_promising(
    encoding: Encoding,
    observed: Sequence[Trial],
    pending: Sequence[Point],
    rule: Fidelity,
    sign: int,
    rng: np.random.Generator,
) -> Point:
    """The point of the largest expected improvement after a full training.

    Args:
        encoding: of the branch to draw from.
        observed: the branch's results, the best first.
        pending: its points without a result.
        rule: whose rungs the results are at.
        sign: 1 where the objective is minimized, else -1.
        rng: what candidates are drawn with.
    """
    x_ND = encoding.rows([trial.params for trial in observed])
    model = _fitted(encoding, x_ND, observed, rule, sign)
    best = float(model.predict(_with_scale(rule, x_ND))[0].min())
    model = model.after_mean(_with_scale(rule, encoding.rows(pending))) if pending else model

    def gain(x_MD: Floats) -> Floats:
        return model.log_improvement(_with_scale(rule, x_MD), best)

    tried = encoding.keys([*(trial.params for trial in observed), *pending])
    x_CD = untried(
        np.concatenate([encoding.random_rows(CANDIDATES, rng), encoding.neighbours(x_ND[:BEST], rng)]), tried
    )
    if not len(x_CD):
        return encoding.point(encoding.random_rows(1, rng)[0])
    gain_C = gain(x_CD)
    for turn in range(ROUNDS + 1):
        order = np.argsort(-gain_C, kind="stable")
        if turn < ROUNDS:
            more_MD = encoding.neighbours(x_CD[order[:BEST]], rng)
        else:
            starts = _with_scale(rule, x_CD[order[: CLIMBERS * bool(encoding.smooth)]])
            tops = [model.climb(x_D, encoding.smooth, best) for x_D in starts]
            more_MD = encoding.snap(np.array(tops)[:, : encoding.width]) if tops else x_CD[:0]
        more_MD = untried(more_MD, tried)
        if len(more_MD):
            x_CD = np.concatenate([x_CD, more_MD])
            gain_C = np.append(gain_C, gain(more_MD))
    return encoding.point(x_CD[int(np.argmax(gain_C))])


def _fitted(encoding: Encoding, x_ND: Floats, observed: Sequence[Trial], rule: Fidelity, sign: int) -> GaussianProcess:
    """The process of the most informative values of the observed trials, at all rungs that matter."""
    value_NR = shifted(at_rungs(observed, rule.rungs, sign))
    trial_V, rung_V = np.nonzero(np.isfinite(value_NR))
    y_V = standardised(value_NR[trial_V, rung_V])
    chosen_V = _most_informative(y_V)
    several = len(rule.rungs) > 1
    scale_R = np.log(rule.rungs) / np.log(rule.rungs[-1]) if several else np.ones(1)
    x_VD = _with_scale(rule, x_ND[trial_V[chosen_V]], scale_R[rung_V[chosen_V]])
    return GaussianProcess(x_VD, y_V[chosen_V], [*encoding.groups(), *[[x_VD.shape[1] - 1]] * several])


def _with_scale(rule: Fidelity, x_ND: Floats, scale: float | Floats = 1.0) -> Floats:
    """The points with the log share of a full training as a further column, where there are several rungs."""
    return np.column_stack([x_ND, np.broadcast_to(scale, len(x_ND))]) if len(rule.rungs) > 1 else x_ND


def at_rungs(trials: Sequence[Trial], rungs: Sequence[int], sign: int) -> Floats:
    """Values to be minimized, shape [N, R], of the rungs that matter; NaN where a trial has not come.

    These are the highest rung with `ENOUGH` values and those above it. A trial that failed or diverged counts there as bad
    as the worst.

    Args:
        trials: N of them.
        rungs: R numbers of epochs, ascending.
        sign: 1 where the objective is minimized, else -1.
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
    """Values of each rung as if trained to the end, shape [N, R]: moved by the median change of those that trained on."""
    moved = value_NR.copy()
    for r in reversed(range(value_NR.shape[1] - 1)):
        change_N = value_NR[:, r + 1] - value_NR[:, r]
        change_N = change_N[np.isfinite(change_N)]
        moved[:, : r + 1] += np.median(change_N) if len(change_N) else 0.0
    return moved


def standardised(value_V: Floats) -> Floats:
    """Values of mean zero and variance one, with outliers drawn in: how bad the bad ones are tells little of the good."""
    middle = np.median(value_V)
    value_V = np.minimum(value_V, middle + OUTLIER * (middle - value_V.min()))
    return np.asarray((value_V - value_V.mean()) / max(value_V.std(), 1e-12))


def _most_informative(y_V: Floats) -> Any:
    """The places of at most `MOST_VALUES` values: the best half, and of the others some at even distances."""
    if len(y_V) <= MOST_VALUES:
        return np.arange(len(y_V))
    order_V = np.argsort(y_V, kind="stable")
    others = order_V[MOST_VALUES // 2 :]
    return np.sort(np.append(order_V[: MOST_VALUES // 2], others[:: -(-len(others) // (MOST_VALUES // 2))]))


def _one_thread() -> AbstractContextManager[Any]:
    """Compute sums in the same order on any number of cores."""
    return cast(AbstractContextManager[Any], _libraries().limit(limits=1))


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks for them: a millisecond
