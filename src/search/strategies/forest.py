"""Bayesian optimization with a forest of regression trees and expected improvement (SMAC: Hutter et al. 2011).

Trees take any space as it is: choices, steps, and dimensions that only some points have; which branch of a choice is next
is drawn as for `gp`. They see the order of the results
alone, as normal scores, in which trials of several rungs stand together (`ranked`).
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr, ndtri
from sklearn.ensemble import ExtraTreesRegressor

from src.config.space import Space
from src.search.fidelity.pruning import Pruner
from src.search.fidelity.rule import fidelity
from src.search.points.branches import Branches
from src.search.points.candidates import Table, anywhere, around, fresh, keys
from src.search.proposing.by_history import Drawn
from src.search.proposing.ranking import ranked, results
from src.search.protocol import Point, Search, Spec, one_objective
from src.study.history import History

TREES = 32
RANDOM = 100  # candidates from anywhere
BEST = 10  # points around which more are looked for
ROUNDS = 4  # of looking around the best


def forest(
    spec: Spec,
    *,
    n_startup_trials: Annotated[int, Field(ge=2)],
    random_fraction: Annotated[float, Field(ge=0, le=1)],
    pruner: Pruner,
) -> Search:
    """Draw where the model expects the largest improvement; the first points are random, and a fraction of the others."""
    one_objective(spec, "forest")
    rule, table, branches = fidelity(pruner, spec), Table(spec.space), Branches(spec.space)

    def draw(history: History, points: Sequence[Point], seed: int) -> Point:
        rng = np.random.default_rng(seed)
        best_first = ranked(results([*spec.earlier, *history.trials], rule), rule.rungs, spec.direction)
        if len(best_first) < n_startup_trials or rng.random() < random_fraction:
            return anywhere(spec.space, rng)
        known = [trial.params for trial in best_first]
        judged = keys(known)
        pending = [point for point in points if frozenset(point.items()) not in judged]
        if len(branches.leaves) == 1:
            return _most_promising(spec.space, table, known, known, pending, rng)
        leaves = [branches.of(point) for point in known]
        drawn = branches.draw(leaves, rng)
        best = [point for point, leaf in zip(known, leaves, strict=True) if leaf == drawn]
        return _most_promising(spec.space.only(branches.leaves[drawn][0]), table, best, known, pending, rng)

    return Drawn(spec, draw, rule)


def _most_promising(
    space: Space,
    table: Table,
    best: Sequence[Point],
    known: Sequence[Point],
    pending: Sequence[Point],
    rng: np.random.Generator,
) -> Point:
    """The candidate in `space` of the largest expected improvement: from anywhere, or by climbing from the best there.

    `known` are all results, the best first, `pending` the points without one.
    """
    scores = ndtri((np.arange(len(known)) + 0.5) / len(known))
    model = ExtraTreesRegressor(TREES, max_features=0.8, bootstrap=True, random_state=int(rng.integers(2**31)))
    told = keys([*known, *pending])
    # What trains is taken for mediocre, so that others nearby are drawn seldom.
    model.fit(table.rows([*known, *pending]).astype(np.float32), np.append(scores, np.zeros(len(pending))))

    def gain(points: Sequence[Point]) -> NDArray[np.float64]:
        rows = table.rows(points).astype(np.float32)
        scores_TN = np.array([tree.tree_.predict(rows)[:, 0] for tree in model.estimators_])
        spread, improvement = scores_TN.std(0) + 1e-6, scores[0] - scores_TN.mean(0)
        z = improvement / spread
        return np.asarray(improvement * ndtr(z) + spread * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))

    candidates = [
        *fresh((anywhere(space, rng) for _ in range(RANDOM)), told),
        *around(space, best[:BEST], told, rng),
    ]
    if not candidates:
        return anywhere(space, rng)
    gains = gain(candidates)
    for _ in range(ROUNDS - 1):
        top = [candidates[k] for k in np.argsort(-gains, kind="stable")[:BEST]]
        if more := around(space, top, told, rng):
            candidates, gains = [*candidates, *more], np.append(gains, gain(more))
    return candidates[int(np.argmax(gains))]
